"""What each verdict of the verifier means: stable ids and words for people, found by patterns of the verdict's text.

The first rule whose pattern occurs wins, so that narrow patterns stand before wide ones. Patterns see the verdict's line; those of
``DETAILED`` rules also the lines before it. Every id has a page in docs/diagnostics, with a program that breaks the rule and its repair.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the verifier.

    Attributes:
        id: its name, for good.
        pattern: occurs in verdicts of this rule.
        problem: what is wrong, in a few words.
        reason: why the verifier cannot allow it.
        suggestion: what repairs it.
        detailed: whether the lines before the verdict count, too.
    """

    id: str
    pattern: re.Pattern[str]
    problem: str
    reason: str
    suggestion: str
    detailed: bool = False


def _rule(id: str, pattern: str, problem: str, reason: str, suggestion: str, *, detailed: bool = False) -> Rule:
    return Rule(id, re.compile(pattern), problem, reason, suggestion, detailed)


RULES: Final[tuple[Rule, ...]] = (
    _rule(
        "not-modelled",
        r"^not modelled: ",
        "this construct is not modelled",
        "the embedded engine's verifier does not know it, and refuses what it cannot prove; a kernel may accept the program",
        "ask the kernel ('bpfcrypto check --engine kernel'), or write it with constructs that the verifier knows",
    ),
    _rule(
        "ref-leak",
        r"would lead to reference leak",
        "something acquired is not given back",
        "on this path the program ends while it still owns a reference, which nobody could release any more",
        "on every path to the exit, release it, or give it away with bpf_kptr_xchg; a failed check must release what was acquired before it",
    ),
    _rule(
        "section-open",
        r"cannot be used inside (?:bpf_local_irq_save|bpf_rcu_read_lock|bpf_preempt_disable)",
        "the program ends inside a critical section",
        "RCU read sections, disabled preemption and disabled interrupts must not outlive the program",
        "end the section on every path, early returns included",
    ),
    _rule(
        "lock-held",
        r"cannot be used inside bpf_spin_lock",
        "the program ends while it holds a lock",
        "nobody else could take the lock ever again",
        "call bpf_spin_unlock on every path, early returns included",
    ),
    _rule(
        "call-while-locked",
        r"function calls are not allowed while holding a lock|calls are not allowed while holding a lock",
        "a call is made while a lock is held",
        "under bpf_spin_lock nothing may be called that could take long, sleep or take locks",
        "call it before bpf_spin_lock or after bpf_spin_unlock",
    ),
    _rule(
        "null-unchecked",
        r"Possibly NULL pointer passed|invalid mem access '\w*_or_null_?'|pointer arithmetic on \w*_or_null_? prohibited"
        r"|is expected to be non-NULL",
        "a pointer is used that may be NULL",
        "what was asked for may not be there: the result of the call is a pointer or NULL",
        "compare it with NULL right after the call, and use it only where it is not",
    ),
    _rule(
        "not-sleepable",
        r"is sleepable within|might sleep in a non-sleepable|must be sleepable to call|that may sleep are not allowed"
        r"|in sleepable context|^i\.e\., in a RCU/IRQ|^a non-sleepable BPF program",
        "something that may sleep is called where nothing may sleep",
        "packet programs, RCU read sections, and sections without preemption or interrupts must not wait",
        "make the call in a sleepable program (SEC(\"syscall\")), or outside of the section; share the result through a map",
    ),
    _rule(
        "kfunc-not-allowed",
        r"calling kernel function \S+ is not allowed",
        "this type of program cannot call this kfunc",
        "each program type has its own set of kfuncs: contexts are created in syscall programs and used in tc and xdp programs",
        "move the call to a program whose type has the kfunc: 'bpfcrypto doctor --kfuncs' lists them; pass results through a map",
    ),
    _rule(
        "helper-not-allowed",
        r"cannot use helper|^unknown func|helper call is not allowed in probe",
        "this type of program cannot call this helper",
        "each program type has its own set of helpers",
        "use a helper of this program type, or move the call to a program of another type",
    ),
    _rule(
        "kfunc-unknown",
        r"^kfunc '.*' is not known|invalid func unknown#|which this kernel does not have",
        "a function is called that does not exist",
        "the number or name stands for no helper or kfunc, or a weak kfunc is called where it is absent",
        "guard weak kfuncs with bpf_ksym_exists() and check that fields exist before they are read",
    ),
    _rule(
        "licence",
        r"non-GPL compatible program",
        "the licence does not allow this",
        "kfuncs, some helpers and the kernel's own structs are for programs with a GPL-compatible licence",
        'declare it: char _license[] SEC("license") = "GPL"; ("Dual BSD/GPL" works too)',
    ),
    _rule(
        "dynptr-uninit",
        r"Expected an initialized dynptr",
        "a dynptr is used that is not initialised",
        "on this path nothing made the dynptr, it was submitted, or its bytes on the stack were overwritten",
        "make it with bpf_dynptr_from_skb, bpf_dynptr_from_xdp or bpf_dynptr_from_mem on every path to here, and pass its start",
    ),
    _rule(
        "dynptr-overwrite",
        r"cannot overwrite referenced dynptr|potential write to dynptr",
        "a dynptr is overwritten that still owns memory",
        "a reserved record has to be submitted or discarded through its dynptr, which would be lost",
        "call bpf_ringbuf_submit_dynptr or bpf_ringbuf_discard_dynptr first, and do not write over a dynptr's bytes",
    ),
    _rule(
        "dynptr-memory",
        r"Unsupported reg type \S+ for|helper access to the packet is not allowed",
        "this memory cannot be given to this function",
        "local dynptrs are made over map values only, and some helpers take no packet pointers",
        "keep the bytes in a map value or a global variable; for packets use bpf_dynptr_from_skb or bpf_dynptr_from_xdp",
    ),
    _rule(
        "dynptr-expected",
        r"expected pointer to stack or const struct bpf_dynptr|Dynptr has to be an uninitialized dynptr"
        r"|expected=fp, dynptr_ptr|const bpf_dynptr",
        "the argument is no dynptr on the stack",
        "the verifier follows a dynptr by its place on the stack; other pointers do not stand for one",
        "declare 'struct bpf_dynptr d;' as a local variable, initialise it and pass &d",
    ),
    _rule(
        "map-not-sleepable",
        r"Sleepable programs can only use",
        "sleepable programs cannot use this type of map",
        "its elements are freed without waiting for programs that sleep",
        "use an array, a hash, a ring buffer or local storage in sleepable programs",
    ),
    _rule(
        "kptr-store",
        r"store to referenced kptr disallowed|store to uptr disallowed",
        "a kptr is stored by assignment",
        "a plain store would lose the reference in the map and keep the one of the program",
        "use bpf_kptr_xchg, and release what it gives back",
    ),
    _rule(
        "kptr-slot",
        r"has no valid kptr|doesn't point to kptr|isn't referenced kptr",
        "bpf_kptr_xchg is not given the place of a kptr",
        "only a field that is declared with __kptr in a map's value can hold a reference",
        "pass the address of the __kptr field of a map value",
    ),
    _rule(
        "kptr-type",
        r"invalid kptr access, ",
        "a kptr is given a pointer of another type",
        "the field's type says what is behind it, for everybody who reads it",
        "declare the field with the type that is stored in it",
    ),
    _rule(
        "kptr-access",
        r"kptr access |kptr in map can only be accessed|kptr has to be at the constant offset|kptr cannot be accessed indirectly",
        "the bytes of a kptr are read or written like data",
        "a kptr can be loaded as a whole at a fixed place, and else only be exchanged",
        "load it with a plain 8-byte read, leave it out of buffers that helpers read or write, and index maps, not arrays of kptrs",
    ),
    _rule(
        "not-owned",
        r"must be referenced when passed to release function|unacquired reference|cannot release unowned",
        "something is released that is not owned",
        "only what this program acquired and did not give away yet can be released",
        "release each reference once; acquire it first if it was only borrowed from a map",
    ),
    _rule(
        "not-trusted",
        r"must be a rcu pointer|must be referenced or trusted|type=untrusted_ptr_",
        "the pointer may be stale",
        "a pointer that was loaded from a map is safe only within an RCU read section, and only until that ends; it cannot be released",
        "load and use it between bpf_rcu_read_lock and bpf_rcu_read_unlock (in packet programs anywhere), "
        "or own it by bpf_kptr_xchg or acquire",
    ),
    _rule(
        "object-offset",
        r"must have zero offset when passed|args#0 expected pointer to STRUCT (\w+) but R\d has a pointer to STRUCT \1\b",
        "the pointer is not to the start of its object",
        "functions that take an object need its start",
        "pass the pointer as it was acquired, without an offset",
    ),
    _rule(
        "object-expected",
        r"must point to scalar, or struct with scalar|expected pointer to STRUCT|expected pointer to allocated object"
        r"|R\d+ is not a pointer to|is neither owning|is non-owning ref",
        "the argument is not the object that the function takes",
        "the register holds another kind of pointer or a number; a pointer that was released or given away is a number",
        "pass the pointer that the acquiring function returned, before it is released or exchanged",
    ),
    _rule(
        "arg-memory",
        r"memory, len pair leads to invalid memory access",
        "a buffer and its size do not go together",
        "the function may touch all bytes of the buffer, which are not all there or not writable",
        "pass sizeof the buffer, or bound the size by a comparison just before the call",
    ),
    _rule(
        "unbounded",
        r"unbounded memory access|min value is negative|unbounded min value|unbounded variable-offset|value is outside of the allowed "
        r"memory range.*unbounded",
        "a size or an index has no bounds",
        "it may be any number, so that the access could go anywhere",
        "compare it with a constant just before the access (if (len > sizeof(buf)) return ...), and keep it unsigned",
    ),
    _rule(
        "packet-bounds",
        r"invalid access to packet|offset is outside of the packet|math between (?:pkt|pkt_end|pkt_meta) pointer",
        "bytes of the packet are accessed that may not be there",
        "no comparison with data_end on this path covers these bytes",
        "compare the end of what you access with data_end before, on the same pointer: if (data + off + size > data_end) return ...",
        detailed=True,
    ),
    _rule(
        "map-bounds",
        r"invalid access to map (?:value|key)",
        "an access leaves the map's value",
        "the bytes behind the value belong to something else",
        "bound the index by the size of the array before the access",
        detailed=True,
    ),
    _rule(
        "ctx-access",
        r"invalid bpf_context access|dereference of modified ctx|variable ctx access|invalid variable-offset ctx",
        "the context does not have this field for this program type, or not in this way",
        "each program type may read and write certain fields of its context, with their own sizes",
        "read the field by its name and full width; write only fields that the program type may write",
    ),
    _rule(
        "stack-access",
        r"invalid (?:indirect |variable-offset |zero-size |unbounded variable-offset )*(?:read from|write to|access to|indirect access to) stack"
        r"|invalid stack access|invalid read from stack|beyond fixed-size stack",
        "an access leaves the stack frame, or reads what was never written",
        "a function's locals are 512 bytes at most; the bytes around them belong to others",
        "keep the index within the local array, and initialise what is read",
        detailed=True,
    ),
    _rule(
        "stack-spill",
        r"corrupt spilled pointer|invalid size of register (?:spill|fill)|spilled ptr in range|leaking pointer from stack",
        "a saved pointer is overwritten in part",
        "a pointer that was half overwritten would point anywhere",
        "store and load pointers as a whole, with 8 bytes at an 8-byte boundary",
    ),
    _rule(
        "stack-escapes",
        r"cannot (?:return stack pointer|spill pointers to stack into stack frame)",
        "the address of a local variable outlives it",
        "the variable is gone when its function returns",
        "let the caller own the variable and pass its address down",
    ),
    _rule(
        "stack-depth",
        r"combined stack size|call stack of|Too large",
        "the stack is too deep",
        "all functions on a chain of calls share 512 bytes of stack, in at most 8 frames",
        "move large locals into a map (a per-CPU array of one element), or cut the chain of calls",
    ),
    _rule(
        "infinite-loop",
        r"infinite loop detected|back-edge",
        "a loop does not come nearer to its end",
        "the program is in the same state at the same place again, so that the loop may never end",
        "count with a variable that changes each time, and compare it with a constant; or use bpf_loop or bpf_for",
        detailed=True,
    ),
    _rule(
        "too-complex",
        r"is too large\. Processed|jumps is too complex|maximum subprogram|number of maps per program|too many",
        "the program is too complex to be proven",
        "the verifier follows every path and gives up after a million instructions",
        "make loops with bpf_loop, split off global functions (verified on their own), and limit branches in loops",
    ),
    _rule(
        "return-range",
        r"the register R0 |R0 not a scalar|should have been in",
        "the program returns a value that is not allowed",
        "callers act on the value; each program type and callback has a range of its own",
        "return one of the constants of the program type; 0 or 1 from callbacks",
    ),
    _rule(
        "uninit-register",
        r"R\d+ !read_ok",
        "a value is read that was never set",
        "nothing was assigned on this path, or a call in between overwrote the register",
        "initialise the variable on every path; in assembly, remember that calls clobber r0 to r5",
    ),
    _rule(
        "object-access",
        r"only read is supported|doesn't have field at offset|access beyond (?:struct|the end of member)|cannot access ptr member"
        r"|Type '.*' is not a struct|direct access to \w+ is disallowed|doesn't have size|R\d+ is ptr_\w+ ",
        "a kernel object is accessed in a way that is not allowed",
        "fields of kernel objects can be read by their types, within the object; they cannot be written",
        "read one field as it is declared; change kernel objects only through kfuncs",
    ),
    _rule(
        "read-only",
        r"write into map forbidden|cannot write into|write to change key|write into packet",
        "read-only memory is written",
        "constants, map keys and slices that were asked for reading only must not change",
        "write to a copy, or make the variable non-const; ask for a writable slice (bpf_dynptr_slice_rdwr)",
    ),
    _rule(
        "not-a-pointer",
        r"invalid mem access '(?:scalar|inv)'",
        "a number is used as an address",
        "the register holds a plain number: a pointer turns into one when what it points to was released or given away, "
        "when a helper may have moved the packet, and when its section ended",
        "get the pointer anew after the call that made it invalid (for packets: read data and data_end again)",
    ),
    _rule(
        "mem-bounds",
        r"outside of the allowed memory range|invalid access to mem|invalid zero-sized read|invalid mem access",
        "an access leaves the memory that it goes to",
        "the pointer is to a few bytes only, and the access is outside of them",
        "check the offset and size against the size that the memory was requested with",
    ),
    _rule(
        "pointer-arithmetic",
        r"pointer arithmetic|pointer [+\-|&^*/%<>]*=? pointer prohibited|bitwise operator .* on pointer|subtract.* from|"
        r"pointer .* prohibited|math between|pointer offset|partial copy of pointer|of pointer$",
        "a calculation that pointers do not allow",
        "its result would point to nothing that the verifier can know",
        "add and subtract numbers only, on pointers that allow it; do other arithmetic on numbers",
    ),
    _rule(
        "pointer-leak",
        r"leaks addr|pointer comparison prohibited",
        "an address of the kernel would become visible",
        "addresses must not reach packets, contexts or unprivileged users",
        "store numbers, not pointers",
    ),
    _rule(
        "atomic-memory",
        r"BPF_ATOMIC (?:stores|loads)|atomic",
        "an atomic operation on memory that does not allow it",
        "packets, contexts and kernel objects have no atomic operations",
        "use a map value or the stack",
    ),
    _rule(
        "alignment",
        r"misaligned",
        "an access is not aligned",
        "the stack, contexts and atomic operations need addresses that are multiples of the size",
        "access the bytes one by one, or place the data at a multiple of its size",
    ),
    _rule(
        "graph-lock",
        r"must be held for bpf_(?:rb_root|list_head)|bpf_spin_lock .* must be held",
        "a list or tree is changed without its lock",
        "the bpf_spin_lock beside the root protects it",
        "take the lock that stands in the same map value before, and release it after",
    ),
    _rule(
        "graph-node",
        r"bpf_(?:list|rb)_node|bpf_(?:list_head|rb_root)|graph node|not found at offset|bpf_refcount",
        "an object does not belong into this list or tree",
        "the root's __contains says which struct it holds and which of its members is the node",
        "pass the node member of an object of that struct, made by bpf_obj_new",
    ),
    _rule(
        "lock-order",
        r"Acquiring the same lock again|without taking a lock|different lock|nested|already|double|Locking two",
        "locks or sections are not properly paired",
        "what is taken is given back once, in the reverse order",
        "pair every lock with one unlock on every path, innermost first",
    ),
    _rule(
        "section-unmatched",
        r"unmatched|irq flag|irq state|irq",
        "a critical section is ended that was not begun, or out of order",
        "every bpf_rcu_read_unlock, bpf_preempt_enable and bpf_local_irq_restore needs its counterpart before it, innermost first",
        "begin and end sections in pairs",
    ),
    _rule(
        "iterator",
        r"expected an (?:un)?initialized iter_|expected an RCU CS when using|uninitialized iter|bpf_iter_",
        "an iterator is used in the wrong state",
        "an iterator is made by its _new function, moved by _next and ended by _destroy, some within an RCU read section",
        "call new, next and destroy in that order, on an iterator on the stack; or use bpf_for and bpf_for_each",
    ),
    _rule(
        "map-type",
        r"cannot pass map_type|expected prog array map|not allowed for map|no direct value access|map_ptr|different maps",
        "the function does not work on this type of map",
        "each helper is for certain types of maps",
        "use the helper that goes with the map's type, or a map of another type",
    ),
    _rule(
        "not-constant",
        r"must be a known constant|is not a known constant|must be a constant|not a const",
        "an argument must be a constant",
        "the verifier has to know it, because sizes and types depend on it",
        "pass a literal, or a variable that has one value on every path",
    ),
    _rule(
        "global-function",
        r"Caller passes invalid args into|arg#\d+ (?:has|expects|type tag|arena|untrusted|should be)|^Arg#\d+|Global function|of function|"
        r"reference type.*size cannot be determined|is not a pointer",
        "arguments do not fit a global function",
        "a global function is verified on its own, for any arguments that its prototype allows; callers must pass such",
        "make it static, or describe its arguments: pointers to structs of known size, __arg_ctx, __arg_nonnull, __arg_trusted",
    ),
    _rule(
        "object-new",
        r"local type|bpf_obj_new|percpu_obj|must be a struct",
        "bpf_obj_new cannot make this type",
        "it makes structs that the program defines, and nothing else",
        "wrap the value in a struct",
    ),
    _rule(
        "format",
        r"[Ii]nvalid format string|fmt|format|zero-terminated|const str",
        "the string is not one that the function takes",
        "formats and other strings must be constant, end with a zero, and have only conversions that the kernel knows",
        "use a string literal (in .rodata) with %d, %u, %x, %s, %p and their lengths, and as many arguments",
    ),
    _rule(
        "arg-type",
        r"type=\S+ expected=|expected pointer to|Unrecognized arg|is not a scalar|arg#\d|R\d+ is of type",
        "an argument has the wrong type",
        "the function is declared for another kind of value in this place",
        "compare the call with the function's prototype",
    ),
    _rule(
        "mixed-pointers",
        r"same insn cannot be used with different pointers",
        "one instruction accesses different kinds of memory",
        "the kernel rewrites some accesses, and can rewrite an instruction in one way only",
        "access each kind of memory in a branch of its own, behind a barrier_var() or in functions of their own",
    ),
    _rule(
        "malformed",
        r"uses? reserved fields|unknown opcode|invalid (?:BPF_|atomic|shift|may_goto|bpf_ld_imm64|destination|type id|insn)|"
        r"unreachable insn|jump out of range|last insn is not|jump into the middle|func_info|line_info|func info|frame pointer is read only|"
        r"R\d+ is invalid|div by zero|call to invalid|can only be sleepable|programs can be sleepable|LD_(?:ABS|IND)|BPF_LD_|"
        r"unrecognized|LD_ABS|tail_call|not pointing to valid|addr_space_cast|same or smaller",
        "the code is not well-formed",
        "an instruction, a jump or a record about the code breaks the rules of the instruction set",
        "this comes from hand-written assembly, linking or a compiler defect: look at the instruction with 'bpfcrypto disasm'",
    ),
)  # fmt: skip

OTHER: Final = _rule(
    "other",
    r"",
    "a rule of the verifier is broken",
    "the verdict's own words say which",
    "look at the end of the log ('bpfcrypto check --log')",
)
"""For verdicts that no pattern knows."""

_BY_ID: Final = {rule.id: rule for rule in RULES}


def find_rule(message: str, details: tuple[str, ...] = (), raised: str = "") -> Rule:
    """The rule that a verdict speaks of.

    Args:
        message: the verdict's line.
        details: the lines before it.
        raised: the id that the raiser gave, which decides where no pattern does.
    """
    everything = "\n".join((*details, message))
    for rule in RULES:
        if rule.pattern.search(everything if rule.detailed else message):
            return rule
    return _BY_ID.get(raised, OTHER)
