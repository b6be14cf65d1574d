/* Runs the native AES of another architecture under an emulator: keys and calls come on the standard input, memory goes to the output.
 * Without a C library, so that nothing but this file has to be built for AArch64 Linux. */
#include <stdint.h>

void aes_expand(const void *key, uint64_t size, void *ctx);
void aes_wipe(void *ctx);
int aes_crypt(const void *ctx, const void *src, uint64_t src_len, void *dst, uint64_t dst_len, void *iv,
	      uint64_t iv_len, _Bool encrypt);

struct call {
	uint32_t key_size, mode, siv_size, partial, memory, size, src, dst, iv, encrypt;
	uint8_t key[32];
};

enum { READ = 63, WRITE = 64, EXIT = 93 };

static long syscall(long number, long fd, const void *memory, uint64_t size)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = fd;
	register const void *x1 __asm__("x1") = memory;
	register uint64_t x2 __asm__("x2") = size;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	return x0;
}

static void transfer(long number, long fd, void *memory, uint64_t size)
{
	while (size) {
		long done = syscall(number, fd, memory, size);

		if (done <= 0)
			syscall(EXIT, number == WRITE, 0, 0);
		memory = (char *)memory + done;
		size -= done;
	}
}

void _start(void)
{
	static _Alignas(16) uint8_t ctx[4096], memory[65536];
	static struct call call;

	for (;;) {
		uint32_t *head = (uint32_t *)ctx;

		transfer(READ, 0, &call, sizeof(call)); /* the end of the input is the end */
		transfer(READ, 0, memory, call.memory);
		aes_expand(call.key, call.key_size, ctx);
		head[1] = call.mode;
		head[2] = call.siv_size;
		head[3] = call.partial;
		uint32_t error = aes_crypt(ctx, memory + call.src, call.size, memory + call.dst, call.size,
					   memory + call.iv, call.siv_size, call.encrypt);
		aes_wipe(ctx);
		for (unsigned int i = 0; i < sizeof(ctx); i++)
			error |= ctx[i];
		transfer(WRITE, 1, &error, sizeof(error));
		transfer(WRITE, 1, memory, call.memory);
	}
}
