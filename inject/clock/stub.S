# The code and data that a skewed process gets, as one image. It lies in the zero
# tail of the last page of the process's own copy of the vDSO; the first bytes of
# clock_gettime, gettimeofday and time then jump into it.
#
# stub_bytes.go holds it assembled: go test ./inject/clock -run Stub -update
# (needs as, objcopy and nm). The agent fills in the header, the records and the two
# trampolines, and never changes the code.
#
# It runs on the caller's stack, uses at most 200 bytes of it, writes nothing but
# what its caller asked it to write, makes no system call, and takes no lock: it may
# be interrupted anywhere. System V calling convention.

	.set CLOCK_MONOTONIC_COARSE, 6
	.set CLOCK_REALTIME_COARSE, 5
	# The clocks that follow the wall clock: REALTIME 0, REALTIME_COARSE 5,
	# REALTIME_ALARM 8, TAI 11. Every other one is passed on untouched.
	.set WALL_CLOCKS, 1 << 0 | 1 << 5 | 1 << 8 | 1 << 11
	.set LAST_WALL_CLOCK, 11
	.set SECOND, 1000000000

	.text
# The header: what a restarted agent needs to find and to undo this.
magic:	.ascii "lckclk1\0"
plan:	.quad 0			# hash of the plan's id
selector:
	.quad 0			# which record is in force: one byte, written last
# Three of: offset of the entry in the vDSO (0: none), and the 12 bytes that were there.
entries:
	.fill 3 * 16, 1, 0

# Four records, used in turn: a new one is complete before the selector names it, so
# that nobody has to be stopped for a change.
	.set EXPIRES, 0			# ns of CLOCK_MONOTONIC: from then on there is no skew
	.set ADD_SECONDS, 8
	.set ADD_NANOSECONDS, 16	# 0 .. 999999999
	.set RATE, 24			# signed, in 1/2^32: 4294967 is 1 ms per s
	.set ANCHOR, 32			# ns of the wall clock: the drift counts from there
	.set RECORD, 40
records:
	.fill 4 * RECORD, 1, 0

# int clock_gettime(clockid_t clk = %edi, struct timespec *ts = %rsi)
	.p2align 4
skewed_clock_gettime:
	cmp	$LAST_WALL_CLOCK, %edi
	ja	original_clock_gettime
	mov	$WALL_CLOCKS, %eax
	bt	%edi, %eax
	jnc	original_clock_gettime
	push	%rbx
	sub	$16, %rsp
	mov	%rsi, %rbx
	call	original_clock_gettime
	test	%eax, %eax
	jnz	1f
	call	adjust
	xor	%eax, %eax
1:	add	$16, %rsp
	pop	%rbx
	ret

# int gettimeofday(struct timeval *tv = %rdi, struct timezone *tz = %rsi)
	.p2align 4
skewed_gettimeofday:
	test	%rdi, %rdi
	jz	original_gettimeofday
	push	%rbx
	push	%r12
	sub	$24, %rsp
	mov	%rdi, %r12
	call	original_gettimeofday
	test	%eax, %eax
	jnz	1f
	mov	(%r12), %rax		# the same as a timespec, on the stack
	mov	%rax, (%rsp)
	imul	$1000, 8(%r12), %rax
	mov	%rax, 8(%rsp)
	mov	%rsp, %rbx
	call	adjust
	mov	(%rsp), %rax
	mov	%rax, (%r12)
	mov	8(%rsp), %eax
	xor	%edx, %edx
	mov	$1000, %ecx
	div	%ecx
	mov	%rax, 8(%r12)
	xor	%eax, %eax
1:	add	$24, %rsp
	pop	%r12
	pop	%rbx
	ret

# time_t time(time_t *t = %rdi): the second of the coarse clock, as the kernel has it.
	.p2align 4
skewed_time:
	push	%rbx
	sub	$16, %rsp
	mov	%rdi, %rbx
	mov	$CLOCK_REALTIME_COARSE, %edi
	mov	%rsp, %rsi
	call	skewed_clock_gettime
	mov	(%rsp), %rax
	test	%rbx, %rbx
	jz	1f
	mov	%rax, (%rbx)
1:	add	$16, %rsp
	pop	%rbx
	ret

# adjust adds the record in force to the timespec at %rbx, unless its lease is over.
# The lease is read from the coarse clock, a tenth of the price of the exact one, and
# exact to one tick of the kernel (1 to 10 ms).
	.p2align 4
adjust:
	sub	$24, %rsp
	mov	$CLOCK_MONOTONIC_COARSE, %edi
	mov	%rsp, %rsi
	call	original_clock_gettime
	test	%eax, %eax
	jnz	4f
	imul	$SECOND, (%rsp), %rax
	add	8(%rsp), %rax
	movzbl	selector(%rip), %ecx
	and	$3, %ecx
	imul	$RECORD, %ecx, %ecx
	lea	records(%rip), %r8
	add	%rcx, %r8
	cmp	EXPIRES(%r8), %rax
	jge	4f			# the lease is over
	mov	(%rbx), %r9
	mov	8(%rbx), %r10
	mov	RATE(%r8), %rcx
	test	%rcx, %rcx
	jz	1f
	imul	$SECOND, %r9, %rax	# (wall clock - anchor) * rate / 2^32
	add	%r10, %rax
	sub	ANCHOR(%r8), %rax
	imul	%rcx
	shrd	$32, %rdx, %rax
	add	%rax, %r10
1:	add	ADD_SECONDS(%r8), %r9
	add	ADD_NANOSECONDS(%r8), %r10
	cmp	$SECOND, %r10
	jb	3f			# unsigned: neither negative nor a second or more
	mov	%r10, %rax
	cqto
	mov	$SECOND, %ecx
	idiv	%rcx
	test	%rdx, %rdx		# rounded towards zero; the remainder must not be negative
	jns	2f
	add	%rcx, %rdx
	dec	%rax
2:	add	%rax, %r9
	mov	%rdx, %r10
3:	mov	%r9, (%rbx)
	mov	%r10, 8(%rbx)
4:	add	$24, %rsp
	ret

# The trampolines: the displaced first instructions of the originals, and a jump to
# what follows them. Filled in by the agent; int3 until then.
	.p2align 4
original_clock_gettime:
	.fill 32, 1, 0xcc
original_gettimeofday:
	.fill 32, 1, 0xcc
image_end:
