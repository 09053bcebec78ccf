; What takes the place of library routines that are known by their bodies (known.c): strings and
; blocks of bytes, 16 bytes a turn. Linked into the partitions that have such a routine.
;
; %base and %size are those of memory 0, in bytes; addresses are the guest's. Each returns the
; routine's result, or -1 where the original has to run: where an access may be beyond the end of
; memory in the middle of stores, where operands overlap in a way that shows, or where memory has
; all 4 GiB, so that an address may wrap.
;
; Memory ends at a multiple of 64 KiB. So a vector that does not cross such a boundary traps just
; where its first byte would, and the bytes read beyond what the routine asked for do no harm.
; Loads are volatile until keep_traps.c has seen who uses them.

; size_t strlen(const char *)
define hidden i64 @known_strlen(ptr %base, i64 %size, i32 %p) #0 {
  %stop = call i64 @known_find(ptr %base, i64 %size, i32 %p, <16 x i8> zeroinitializer)
  %whole = icmp eq i64 %stop, -1
  br i1 %whole, label %original, label %found
found:
  %start = zext i32 %p to i64
  %length = sub i64 %stop, %start
  ret i64 %length
original:
  ret i64 -1
}

; char *strchrnul(const char *, int)
define hidden i64 @known_strchrnul(ptr %base, i64 %size, i32 %p, i32 %c) #0 {
  %byte = trunc i32 %c to i8
  %one = insertelement <16 x i8> poison, i8 %byte, i64 0
  %all = shufflevector <16 x i8> %one, <16 x i8> poison, <16 x i32> zeroinitializer
  %stop = call i64 @known_find(ptr %base, i64 %size, i32 %p, <16 x i8> %all)
  ret i64 %stop
}

; The address of the first byte from p on that is 0 or one of %wanted (all the same).
define hidden i64 @known_find(ptr %base, i64 %size, i32 %p, <16 x i8> %wanted) #1 {
entry:
  %wide = zext i32 %p to i64
  %whole = icmp ugt i64 %size, 4294967295
  br i1 %whole, label %original, label %first
first: ; 64 bytes from p on, where they do not cross a boundary
  %low = and i32 %p, 65535
  %crosses = icmp ugt i32 %low, 65472
  br i1 %crosses, label %edge, label %near
near:
  %near_here = getelementptr i8, ptr %base, i64 %wide
  %near_mask = call i64 @known_stops64(ptr %near_here, <16 x i8> %wanted)
  %near_any = icmp ne i64 %near_mask, 0
  br i1 %near_any, label %near_found, label %near_none
near_found:
  %near_count = call i64 @llvm.cttz.i64(i64 %near_mask, i1 true)
  %near_stop = add i64 %wide, %near_count
  ret i64 %near_stop
near_none:
  %near_down = and i64 %wide, -64
  %near_next = add i64 %near_down, 64
  br label %loop
edge: ; by 16, up to a multiple of 64, which the boundary is
  %skip = and i32 %p, 15
  %first_at = and i64 %wide, -16
  br label %step
step:
  %at = phi i64 [ %first_at, %edge ], [ %next, %more ]
  %unasked = phi i32 [ %skip, %edge ], [ 0, %more ]
  %here = getelementptr i8, ptr %base, i64 %at
  %v = load volatile <16 x i8>, ptr %here, align 16
  %all = call i32 @known_stops(<16 x i8> %v, <16 x i8> %wanted)
  %shifted = lshr i32 %all, %unasked
  %mask = shl i32 %shifted, %unasked
  %any = icmp ne i32 %mask, 0
  br i1 %any, label %found, label %more
more:
  %next = add i64 %at, 16
  %next_low = and i64 %next, 63
  %aligned = icmp eq i64 %next_low, 0
  br i1 %aligned, label %loop, label %step
found:
  %count = call i32 @llvm.cttz.i32(i32 %mask, i1 true)
  %count_wide = zext i32 %count to i64
  %stop = add i64 %at, %count_wide
  ret i64 %stop
loop:
  %loop_at = phi i64 [ %near_next, %near_none ], [ %next, %more ], [ %loop_next, %loop ]
  %loop_here = getelementptr i8, ptr %base, i64 %loop_at
  %loop_next = add i64 %loop_at, 64
  %loop_any = call i1 @known_stops_in(ptr %loop_here, <16 x i8> %wanted)
  br i1 %loop_any, label %loop_found, label %loop
loop_found: ; its mask is made only now
  %loop_mask = call i64 @known_stops64(ptr %loop_here, <16 x i8> %wanted)
  %loop_count = call i64 @llvm.cttz.i64(i64 %loop_mask, i1 true)
  %loop_stop = add i64 %loop_at, %loop_count
  ret i64 %loop_stop
original:
  ret i64 -1
}

; Which of 64 bytes is 0 or wanted.
define hidden i64 @known_stops64(ptr %here, <16 x i8> %wanted) #1 {
  %v = load volatile <64 x i8>, ptr %here, align 1
  %wanted64 = shufflevector <16 x i8> %wanted, <16 x i8> poison, <64 x i32> zeroinitializer
  %zero = icmp eq <64 x i8> %v, zeroinitializer
  %same = icmp eq <64 x i8> %v, %wanted64
  %either = or <64 x i1> %zero, %same
  %mask = bitcast <64 x i1> %either to i64
  ret i64 %mask
}

; Whether any of 64 bytes is, with one question of the processor.
define hidden i1 @known_stops_in(ptr %here, <16 x i8> %wanted) #1 {
  %there = getelementptr i8, ptr %here, i64 32
  %w0 = load volatile <32 x i8>, ptr %here, align 32
  %w1 = load volatile <32 x i8>, ptr %there, align 32
  %wanted32 = shufflevector <16 x i8> %wanted, <16 x i8> poison, <32 x i32> zeroinitializer
  %zero0 = icmp eq <32 x i8> %w0, zeroinitializer
  %zero1 = icmp eq <32 x i8> %w1, zeroinitializer
  %same0 = icmp eq <32 x i8> %w0, %wanted32
  %same1 = icmp eq <32 x i8> %w1, %wanted32
  %stop_a = or <32 x i1> %zero0, %same0
  %stop_b = or <32 x i1> %zero1, %same1
  %stops = or <32 x i1> %stop_a, %stop_b
  %bits = bitcast <32 x i1> %stops to i32
  %any = icmp ne i32 %bits, 0
  ret i1 %any
}

define hidden i32 @known_stops(<16 x i8> %v, <16 x i8> %wanted) #1 {
  %zero = icmp eq <16 x i8> %v, zeroinitializer
  %same = icmp eq <16 x i8> %v, %wanted
  %either = or <16 x i1> %zero, %same
  %bits = bitcast <16 x i1> %either to i16
  %mask = zext i16 %bits to i32
  ret i32 %mask
}

; void *memchr(const void *, int, size_t)
define hidden i64 @known_memchr(ptr %base, i64 %size, i32 %p, i32 %c, i32 %n) #0 {
entry:
  %whole = icmp ugt i64 %size, 4294967295
  br i1 %whole, label %original, label %begin
begin:
  %none = icmp eq i32 %n, 0
  br i1 %none, label %absent, label %first
first: ; 64 bytes from p on, where they do not cross a boundary
  %byte = trunc i32 %c to i8
  %one = insertelement <16 x i8> poison, i8 %byte, i64 0
  %wanted = shufflevector <16 x i8> %one, <16 x i8> poison, <16 x i32> zeroinitializer
  %wide = zext i32 %p to i64
  %length = zext i32 %n to i64
  %end = add i64 %wide, %length
  %low = and i32 %p, 65535
  %crosses = icmp ugt i32 %low, 65472
  br i1 %crosses, label %edge, label %near
near:
  %near_here = getelementptr i8, ptr %base, i64 %wide
  %near_mask = call i64 @known_same64(ptr %near_here, <16 x i8> %wanted)
  %near_any = icmp ne i64 %near_mask, 0
  br i1 %near_any, label %found, label %near_none
near_none:
  %near_over = icmp ule i64 %length, 64
  br i1 %near_over, label %absent, label %near_more
near_more:
  %near_down = and i64 %wide, -64
  %near_next = add i64 %near_down, 64
  br label %big
edge: ; by 16, up to a multiple of 64, which the boundary is
  %skip = and i32 %p, 15
  %first_at = and i64 %wide, -16
  br label %step
step:
  %at = phi i64 [ %first_at, %edge ], [ %next, %on ]
  %unasked = phi i32 [ %skip, %edge ], [ 0, %on ]
  %here = getelementptr i8, ptr %base, i64 %at
  %v = load volatile <16 x i8>, ptr %here, align 16
  %same = icmp eq <16 x i8> %v, %wanted
  %bits = bitcast <16 x i1> %same to i16
  %all = zext i16 %bits to i32
  %shifted = lshr i32 %all, %unasked
  %mask = shl i32 %shifted, %unasked
  %any = icmp ne i32 %mask, 0
  br i1 %any, label %step_found, label %more
step_found:
  %mask_wide = zext i32 %mask to i64
  br label %found
more:
  %next = add i64 %at, 16
  %past = icmp uge i64 %next, %end
  br i1 %past, label %absent, label %on
on:
  %next_low = and i64 %next, 63
  %aligned = icmp eq i64 %next_low, 0
  br i1 %aligned, label %big, label %step
big:
  %big_at = phi i64 [ %near_next, %near_more ], [ %next, %on ], [ %big_next, %big_more ]
  %big_here = getelementptr i8, ptr %base, i64 %big_at
  %big_any = call i1 @known_same_in(ptr %big_here, <16 x i8> %wanted)
  br i1 %big_any, label %big_found, label %big_more
big_more:
  %big_next = add i64 %big_at, 64
  %big_past = icmp uge i64 %big_next, %end
  br i1 %big_past, label %absent, label %big
big_found: ; its mask is made only now
  %big_mask = call i64 @known_same64(ptr %big_here, <16 x i8> %wanted)
  br label %found
found:
  %from = phi i64 [ %wide, %near ], [ %at, %step_found ], [ %big_at, %big_found ]
  %which = phi i64 [ %near_mask, %near ], [ %mask_wide, %step_found ], [ %big_mask, %big_found ]
  %count = call i64 @llvm.cttz.i64(i64 %which, i1 true)
  %where = add i64 %from, %count
  %inside = icmp ult i64 %where, %end
  %result = select i1 %inside, i64 %where, i64 0
  ret i64 %result
absent:
  ret i64 0
original:
  ret i64 -1
}

; Which of 64 bytes is wanted.
define hidden i64 @known_same64(ptr %here, <16 x i8> %wanted) #1 {
  %v = load volatile <64 x i8>, ptr %here, align 1
  %wanted64 = shufflevector <16 x i8> %wanted, <16 x i8> poison, <64 x i32> zeroinitializer
  %same = icmp eq <64 x i8> %v, %wanted64
  %mask = bitcast <64 x i1> %same to i64
  ret i64 %mask
}

; Whether any of 64 bytes is, with one question of the processor.
define hidden i1 @known_same_in(ptr %here, <16 x i8> %wanted) #1 {
  %there = getelementptr i8, ptr %here, i64 32
  %w0 = load volatile <32 x i8>, ptr %here, align 32
  %w1 = load volatile <32 x i8>, ptr %there, align 32
  %wanted32 = shufflevector <16 x i8> %wanted, <16 x i8> poison, <32 x i32> zeroinitializer
  %same0 = icmp eq <32 x i8> %w0, %wanted32
  %same1 = icmp eq <32 x i8> %w1, %wanted32
  %same = or <32 x i1> %same0, %same1
  %bits = bitcast <32 x i1> %same to i32
  %any = icmp ne i32 %bits, 0
  ret i1 %any
}

; int memcmp(const void *, const void *, size_t)
define hidden i64 @known_memcmp(ptr %base, i64 %size, i32 %a, i32 %b, i32 %n) #0 {
  %length = zext i32 %n to i64
  %result = call i64 @known_first(ptr %base, i64 %size, i32 %a, i32 %b, i64 %length, <16 x i8> zeroinitializer)
  ret i64 %result
}

; int strcmp(const char *, const char *)
define hidden i64 @known_strcmp(ptr %base, i64 %size, i32 %a, i32 %b) #0 {
  %result = call i64 @known_first(ptr %base, i64 %size, i32 %a, i32 %b, i64 9223372036854775807, <16 x i8> splat (i8 -1))
  ret i64 %result
}

; int strncmp(const char *, const char *, size_t)
define hidden i64 @known_strncmp(ptr %base, i64 %size, i32 %a, i32 %b, i32 %n) #0 {
  %length = zext i32 %n to i64
  %result = call i64 @known_first(ptr %base, i64 %size, i32 %a, i32 %b, i64 %length, <16 x i8> splat (i8 -1))
  ret i64 %result
}

; known_compare, with the first 16 bytes here, where most comparisons end.
define hidden i64 @known_first(ptr %base, i64 %size, i32 %a, i32 %b, i64 %length, <16 x i8> %strings) #1 {
  %none = icmp eq i64 %length, 0
  br i1 %none, label %equal, label %where
where:
  %a_low = and i32 %a, 65535
  %b_low = and i32 %b, 65535
  %a_high = icmp ugt i32 %a_low, 65520
  %b_high = icmp ugt i32 %b_low, 65520
  %crosses = or i1 %a_high, %b_high
  br i1 %crosses, label %slow, label %vector
vector:
  %a_wide = zext i32 %a to i64
  %b_wide = zext i32 %b to i64
  %a_here = getelementptr i8, ptr %base, i64 %a_wide
  %b_here = getelementptr i8, ptr %base, i64 %b_wide
  %va = load volatile <16 x i8>, ptr %a_here, align 1
  %vb = load volatile <16 x i8>, ptr %b_here, align 1
  %differ = icmp ne <16 x i8> %va, %vb
  %zero = icmp eq <16 x i8> %va, zeroinitializer
  %ends = icmp ne <16 x i8> %strings, zeroinitializer
  %end = and <16 x i1> %zero, %ends
  %stops = or <16 x i1> %differ, %end
  %bits = bitcast <16 x i1> %stops to i16
  %any = icmp ne i16 %bits, 0
  br i1 %any, label %stop, label %same
same:
  %short = icmp ule i64 %length, 16
  br i1 %short, label %equal, label %slow
stop:
  %count = call i16 @llvm.cttz.i16(i16 %bits, i1 true)
  %index = zext i16 %count to i64
  %beyond = icmp uge i64 %index, %length
  br i1 %beyond, label %equal, label %difference
difference:
  %a_byte_at = getelementptr i8, ptr %a_here, i64 %index
  %b_byte_at = getelementptr i8, ptr %b_here, i64 %index
  %a_byte = load volatile i8, ptr %a_byte_at, align 1
  %b_byte = load volatile i8, ptr %b_byte_at, align 1
  %a_int = zext i8 %a_byte to i32
  %b_int = zext i8 %b_byte to i32
  %minus = sub i32 %a_int, %b_int
  %result = zext i32 %minus to i64
  ret i64 %result
equal:
  ret i64 0
slow: ; reads the first again: it is at hand
  %rest = call i64 @known_compare(ptr %base, i64 %size, i32 %a, i32 %b, i64 %length, <16 x i8> %strings)
  ret i64 %rest
}

; The difference of the first bytes that differ or, where %strings has ones, are both 0; 0 where
; there are none in %length bytes.
define hidden i64 @known_compare(ptr %base, i64 %size, i32 %a, i32 %b, i64 %length, <16 x i8> %strings) #2 {
entry:
  %a_wide = zext i32 %a to i64
  %b_wide = zext i32 %b to i64
  %whole = icmp ugt i64 %size, 4294967295
  br i1 %whole, label %original, label %turn
turn:
  %i = phi i64 [ 0, %entry ], [ %i_next, %same ], [ %i_one, %one_same ], [ %i_big, %big_same ]
  %left = sub i64 %length, %i
  %none = icmp eq i64 %left, 0
  br i1 %none, label %equal, label %look
look:
  %a_at = add i64 %a_wide, %i
  %b_at = add i64 %b_wide, %i
  %a_here = getelementptr i8, ptr %base, i64 %a_at
  %b_here = getelementptr i8, ptr %base, i64 %b_at
  %a_low = and i64 %a_at, 65535
  %b_low = and i64 %b_at, 65535
  %a_high = icmp ugt i64 %a_low, 65520
  %b_high = icmp ugt i64 %b_low, 65520
  %crosses = or i1 %a_high, %b_high
  br i1 %crosses, label %one, label %sized
sized: ; 64 bytes a turn where there are so many; what is found in them is looked for again
  %far = icmp ugt i64 %i, 31
  %many = icmp ugt i64 %left, 63
  %a_fits = icmp ult i64 %a_low, 65473
  %b_fits = icmp ult i64 %b_low, 65473
  %both_fit = and i1 %a_fits, %b_fits
  %many_fit = and i1 %many, %both_fit
  %big = and i1 %many_fit, %far
  br i1 %big, label %big_vector, label %vector
big_vector:
  %a_there = getelementptr i8, ptr %a_here, i64 32
  %b_there = getelementptr i8, ptr %b_here, i64 32
  %wa0 = load volatile <32 x i8>, ptr %a_here, align 1
  %wb0 = load volatile <32 x i8>, ptr %b_here, align 1
  %wa1 = load volatile <32 x i8>, ptr %a_there, align 1
  %wb1 = load volatile <32 x i8>, ptr %b_there, align 1
  %big_strings = shufflevector <16 x i8> %strings, <16 x i8> poison, <32 x i32> zeroinitializer
  %big_ends = icmp ne <32 x i8> %big_strings, zeroinitializer
  %differ0 = icmp ne <32 x i8> %wa0, %wb0
  %differ1 = icmp ne <32 x i8> %wa1, %wb1
  %zero0 = icmp eq <32 x i8> %wa0, zeroinitializer
  %zero1 = icmp eq <32 x i8> %wa1, zeroinitializer
  %zeros = or <32 x i1> %zero0, %zero1
  %big_end = and <32 x i1> %zeros, %big_ends
  %differs = or <32 x i1> %differ0, %differ1
  %big_stops = or <32 x i1> %differs, %big_end
  %big_bits = bitcast <32 x i1> %big_stops to i32
  %big_any = icmp ne i32 %big_bits, 0
  br i1 %big_any, label %vector, label %big_same
big_same:
  %i_big = add i64 %i, 64
  br label %turn
vector:
  %va = load volatile <16 x i8>, ptr %a_here, align 1
  %vb = load volatile <16 x i8>, ptr %b_here, align 1
  %differ = icmp ne <16 x i8> %va, %vb
  %zero = icmp eq <16 x i8> %va, zeroinitializer
  %ends = icmp ne <16 x i8> %strings, zeroinitializer
  %end = and <16 x i1> %zero, %ends
  %stops = or <16 x i1> %differ, %end
  %bits = bitcast <16 x i1> %stops to i16
  %any = icmp ne i16 %bits, 0
  br i1 %any, label %stop, label %same
same:
  %i_next = add i64 %i, 16
  %past = icmp ule i64 %length, %i_next
  br i1 %past, label %equal, label %turn
stop:
  %count = call i16 @llvm.cttz.i16(i16 %bits, i1 true)
  %index = zext i16 %count to i64
  %beyond = icmp uge i64 %index, %left
  br i1 %beyond, label %equal, label %difference
difference:
  %a_byte_at = getelementptr i8, ptr %a_here, i64 %index
  %b_byte_at = getelementptr i8, ptr %b_here, i64 %index
  %a_byte = load volatile i8, ptr %a_byte_at, align 1
  %b_byte = load volatile i8, ptr %b_byte_at, align 1
  %a_int = zext i8 %a_byte to i32
  %b_int = zext i8 %b_byte to i32
  %minus = sub i32 %a_int, %b_int
  %result = zext i32 %minus to i64
  ret i64 %result
one: ; a byte, before a boundary
  %a_one = load volatile i8, ptr %a_here, align 1
  %b_one = load volatile i8, ptr %b_here, align 1
  %one_differ = icmp ne i8 %a_one, %b_one
  %one_zero = icmp eq i8 %a_one, 0
  %strings_first = extractelement <16 x i8> %strings, i64 0
  %one_ends = icmp ne i8 %strings_first, 0
  %one_end = and i1 %one_zero, %one_ends
  %one_stop = or i1 %one_differ, %one_end
  br i1 %one_stop, label %one_difference, label %one_same
one_same:
  %i_one = add i64 %i, 1
  br label %turn
one_difference:
  %a_one_int = zext i8 %a_one to i32
  %b_one_int = zext i8 %b_one to i32
  %one_minus = sub i32 %a_one_int, %b_one_int
  %one_result = zext i32 %one_minus to i64
  ret i64 %one_result
equal:
  ret i64 0
original:
  ret i64 -1
}

; void *memcpy(void *, const void *, size_t); of operands that overlap the original shows which
; byte it copies first
define hidden i64 @known_memcpy(ptr %base, i64 %size, i32 %d, i32 %s, i32 %n) #0 {
  %d_wide = zext i32 %d to i64
  %s_wide = zext i32 %s to i64
  %length = zext i32 %n to i64
  %d_end = add i64 %d_wide, %length
  %s_end = add i64 %s_wide, %length
  %d_out = icmp ugt i64 %d_end, %size
  %s_out = icmp ugt i64 %s_end, %size
  %out = or i1 %d_out, %s_out
  %d_below = icmp ule i64 %d_end, %s_wide
  %s_below = icmp ule i64 %s_end, %d_wide
  %apart = or i1 %d_below, %s_below
  %overlap = xor i1 %apart, true
  %original = or i1 %out, %overlap
  br i1 %original, label %slow, label %fast
fast:
  %to = getelementptr i8, ptr %base, i64 %d_wide
  %from = getelementptr i8, ptr %base, i64 %s_wide
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %from, i64 %length, i1 false)
  ret i64 %d_wide
slow:
  ret i64 -1
}

; void *memmove(void *, const void *, size_t)
define hidden i64 @known_memmove(ptr %base, i64 %size, i32 %d, i32 %s, i32 %n) #0 {
  %d_wide = zext i32 %d to i64
  %s_wide = zext i32 %s to i64
  %length = zext i32 %n to i64
  %d_end = add i64 %d_wide, %length
  %s_end = add i64 %s_wide, %length
  %d_out = icmp ugt i64 %d_end, %size
  %s_out = icmp ugt i64 %s_end, %size
  %out = or i1 %d_out, %s_out
  br i1 %out, label %slow, label %fast
fast:
  %to = getelementptr i8, ptr %base, i64 %d_wide
  %from = getelementptr i8, ptr %base, i64 %s_wide
  call void @llvm.memmove.p0.p0.i64(ptr %to, ptr %from, i64 %length, i1 false)
  ret i64 %d_wide
slow:
  ret i64 -1
}

; void *memset(void *, int, size_t)
define hidden i64 @known_memset(ptr %base, i64 %size, i32 %d, i32 %c, i32 %n) #0 {
  %d_wide = zext i32 %d to i64
  %length = zext i32 %n to i64
  %d_end = add i64 %d_wide, %length
  %out = icmp ugt i64 %d_end, %size
  br i1 %out, label %slow, label %fast
fast:
  %byte = trunc i32 %c to i8
  %to = getelementptr i8, ptr %base, i64 %d_wide
  call void @llvm.memset.p0.i64(ptr %to, i8 %byte, i64 %length, i1 false)
  ret i64 %d_wide
slow:
  ret i64 -1
}

; char *stpcpy(char *, const char *): the end is found first, within memory, so that nothing traps
; that the original would have stored before
define hidden i64 @known_stpcpy(ptr %base, i64 %size, i32 %d, i32 %s) #0 {
entry:
  %d_wide = zext i32 %d to i64
  %s_wide = zext i32 %s to i64
  %skip = and i32 %s, 15
  %first_at = and i64 %s_wide, -16
  br label %look
look:
  %at = phi i64 [ %first_at, %entry ], [ %next, %no ]
  %unasked = phi i32 [ %skip, %entry ], [ 0, %no ]
  %past = icmp uge i64 %at, %size
  br i1 %past, label %slow, label %load
load:
  %here = getelementptr i8, ptr %base, i64 %at
  %v = load volatile <16 x i8>, ptr %here, align 16
  %zero = icmp eq <16 x i8> %v, zeroinitializer
  %bits = bitcast <16 x i1> %zero to i16
  %all = zext i16 %bits to i32
  %shifted = lshr i32 %all, %unasked
  %mask = shl i32 %shifted, %unasked
  %any = icmp ne i32 %mask, 0
  br i1 %any, label %found, label %no
no:
  %next = add i64 %at, 16
  br label %look
found:
  %count = call i32 @llvm.cttz.i32(i32 %mask, i1 true)
  %count_wide = zext i32 %count to i64
  %stop = add i64 %at, %count_wide
  %less = sub i64 %stop, %s_wide
  %length = add i64 %less, 1
  %d_end = add i64 %d_wide, %length
  %s_end = add i64 %s_wide, %length
  %out = icmp ugt i64 %d_end, %size
  %d_below = icmp ule i64 %d_end, %s_wide
  %s_below = icmp ule i64 %s_end, %d_wide
  %apart = or i1 %d_below, %s_below
  %overlap = xor i1 %apart, true
  %original = or i1 %out, %overlap
  br i1 %original, label %slow, label %fast
fast:
  %to = getelementptr i8, ptr %base, i64 %d_wide
  %from = getelementptr i8, ptr %base, i64 %s_wide
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %from, i64 %length, i1 false)
  %result = add i64 %d_wide, %less
  ret i64 %result
slow:
  ret i64 -1
}

; char *strstr(const char *, const char *), for two to four bytes: musl's own looks at the haystack
; byte by byte and keeps nothing in memory. Pairs of the first two bytes are found 64 at a time, the
; haystack beside itself one byte on; around a boundary 16 at a time, where the second byte stands for
; a pair, as the first may lie in the block before.
define hidden i64 @known_strstr(ptr %base, i64 %size, i32 %h, i32 %n) #0 {
entry:
  %whole = icmp ugt i64 %size, 4294967295
  %n_low = and i32 %n, 65535
  %n_high = icmp ugt i32 %n_low, 65528
  %unfit = or i1 %whole, %n_high
  br i1 %unfit, label %original, label %needle
needle:
  %n_wide = zext i32 %n to i64
  %n_here = getelementptr i8, ptr %base, i64 %n_wide
  %n_all = load volatile i64, ptr %n_here, align 1
  %n0 = trunc i64 %n_all to i8
  %n1_shifted = lshr i64 %n_all, 8
  %n1 = trunc i64 %n1_shifted to i8
  %n2_shifted = lshr i64 %n_all, 16
  %n2 = trunc i64 %n2_shifted to i8
  %n3_shifted = lshr i64 %n_all, 24
  %n3 = trunc i64 %n3_shifted to i8
  %n4_shifted = lshr i64 %n_all, 32
  %n4 = trunc i64 %n4_shifted to i8
  %end0 = icmp eq i8 %n0, 0
  %end1 = icmp eq i8 %n1, 0
  %end2 = icmp eq i8 %n2, 0
  %end3 = icmp eq i8 %n3, 0
  %end4 = icmp eq i8 %n4, 0
  %under2 = or i1 %end0, %end1
  %upto3 = or i1 %end2, %end3
  %upto4 = or i1 %upto3, %end4
  %over4 = xor i1 %upto4, true
  %other = or i1 %under2, %over4
  br i1 %other, label %original, label %begin
begin:
  %h_wide = zext i32 %h to i64
  %n0_one = insertelement <16 x i8> poison, i8 %n0, i64 0
  %n0_all = shufflevector <16 x i8> %n0_one, <16 x i8> poison, <16 x i32> zeroinitializer
  %n1_one = insertelement <16 x i8> poison, i8 %n1, i64 0
  %n1_all = shufflevector <16 x i8> %n1_one, <16 x i8> poison, <16 x i32> zeroinitializer
  %n0_wide = shufflevector <16 x i8> %n0_one, <16 x i8> poison, <32 x i32> zeroinitializer
  %n1_wide = shufflevector <16 x i8> %n1_one, <16 x i8> poison, <32 x i32> zeroinitializer
  %n0_most = shufflevector <16 x i8> %n0_one, <16 x i8> poison, <64 x i32> zeroinitializer
  %n1_most = shufflevector <16 x i8> %n1_one, <16 x i8> poison, <64 x i32> zeroinitializer
  br label %big
big: ; 64 bytes and the one behind them, where they do not cross a boundary
  %from = phi i64 [ %h_wide, %begin ], [ %from_next, %big_goon ], [ %back, %beyond ]
  %from_low = and i64 %from, 65535
  %crosses = icmp ugt i64 %from_low, 65471
  br i1 %crosses, label %edge, label %big_block
big_block:
  %big_here = getelementptr i8, ptr %base, i64 %from
  %big_there = getelementptr i8, ptr %big_here, i64 32
  %big_here1 = getelementptr i8, ptr %big_here, i64 1
  %big_there1 = getelementptr i8, ptr %big_here, i64 33
  %a0 = load volatile <32 x i8>, ptr %big_here, align 1
  %a1 = load volatile <32 x i8>, ptr %big_there, align 1
  %b0 = load volatile <32 x i8>, ptr %big_here1, align 1
  %b1 = load volatile <32 x i8>, ptr %big_there1, align 1
  %a0_is0 = icmp eq <32 x i8> %a0, %n0_wide
  %a1_is0 = icmp eq <32 x i8> %a1, %n0_wide
  %b0_is1 = icmp eq <32 x i8> %b0, %n1_wide
  %b1_is1 = icmp eq <32 x i8> %b1, %n1_wide
  %pairs0 = and <32 x i1> %a0_is0, %b0_is1
  %pairs1 = and <32 x i1> %a1_is0, %b1_is1
  %zeros0 = icmp eq <32 x i8> %a0, zeroinitializer
  %zeros1 = icmp eq <32 x i8> %a1, zeroinitializer
  %some0 = or <32 x i1> %pairs0, %zeros0
  %some1 = or <32 x i1> %pairs1, %zeros1
  %some_either = or <32 x i1> %some0, %some1
  %some = bitcast <32 x i1> %some_either to i32
  %big_nothing = icmp eq i32 %some, 0
  br i1 %big_nothing, label %big_goon, label %big_masks
big_goon:
  %from_next = add i64 %from, 64
  br label %big
big_masks: ; made only now
  %a = load volatile <64 x i8>, ptr %big_here, align 1
  %b = load volatile <64 x i8>, ptr %big_here1, align 1
  %a_is0 = icmp eq <64 x i8> %a, %n0_most
  %b_is1 = icmp eq <64 x i8> %b, %n1_most
  %zeros = icmp eq <64 x i8> %a, zeroinitializer
  %pairs64 = and <64 x i1> %a_is0, %b_is1
  %big_pairs_all = bitcast <64 x i1> %pairs64 to i64
  %big_zeros = bitcast <64 x i1> %zeros to i64
  %big_less = sub i64 %big_zeros, 1
  %big_not = xor i64 %big_zeros, -1
  %big_below = and i64 %big_less, %big_not
  %big_pairs = and i64 %big_pairs_all, %big_below
  br label %big_look
big_look:
  %big_left = phi i64 [ %big_pairs, %big_masks ], [ %big_left_next, %big_wrong ]
  %big_no_pair = icmp eq i64 %big_left, 0
  br i1 %big_no_pair, label %big_ended, label %big_pair
big_pair:
  %big_index = call i64 @llvm.cttz.i64(i64 %big_left, i1 true)
  %big_start = add i64 %from, %big_index
  %big_third = add i64 %big_start, 2
  %big_third_here = getelementptr i8, ptr %base, i64 %big_third
  %big_right = call i1 @known_goes_on(ptr %big_third_here, i1 %end2, i1 %end3, i8 %n2, i8 %n3)
  br i1 %big_right, label %match, label %big_wrong
big_wrong:
  %big_left_less = sub i64 %big_left, 1
  %big_left_next = and i64 %big_left, %big_left_less
  br label %big_look
big_ended:
  %big_over = icmp ne i64 %big_zeros, 0
  br i1 %big_over, label %absent, label %big_goon
edge: ; up to the first block behind the boundary
  %from_int = trunc i64 %from to i32
  %skip = and i32 %from_int, 15
  %ones = shl i32 65535, %skip
  %first_at = and i64 %from, -16
  br label %block
block:
  %at = phi i64 [ %first_at, %edge ], [ %next, %goon ]
  %asked = phi i32 [ %ones, %edge ], [ 65535, %goon ]
  %carry = phi i32 [ 0, %edge ], [ %carry_next, %goon ]
  %here = getelementptr i8, ptr %base, i64 %at
  %v = load volatile <16 x i8>, ptr %here, align 16
  %is0 = icmp eq <16 x i8> %v, %n0_all
  %is1 = icmp eq <16 x i8> %v, %n1_all
  %isz = icmp eq <16 x i8> %v, zeroinitializer
  %bits0 = bitcast <16 x i1> %is0 to i16
  %bits1 = bitcast <16 x i1> %is1 to i16
  %bitsz = bitcast <16 x i1> %isz to i16
  %all0 = zext i16 %bits0 to i32
  %all1 = zext i16 %bits1 to i32
  %allz = zext i16 %bitsz to i32
  %mask0 = and i32 %all0, %asked
  %maskz = and i32 %allz, %asked
  %carry_next = lshr i32 %mask0, 15
  %up = shl i32 %mask0, 1
  %firsts = or i32 %up, %carry
  %pairs_all = and i32 %firsts, %all1
  %z_less = sub i32 %maskz, 1
  %z_not = xor i32 %maskz, -1
  %below = and i32 %z_less, %z_not
  %pairs = and i32 %pairs_all, %below
  br label %look
look:
  %left = phi i32 [ %pairs, %block ], [ %left_next, %wrong ]
  %no_pair = icmp eq i32 %left, 0
  br i1 %no_pair, label %ended, label %pair
pair:
  %index = call i32 @llvm.cttz.i32(i32 %left, i1 true)
  %index_wide = zext i32 %index to i64
  %second_at = add i64 %at, %index_wide
  %start = sub i64 %second_at, 1
  %third_at = add i64 %second_at, 1
  %third_here = getelementptr i8, ptr %base, i64 %third_at
  %right = call i1 @known_goes_on(ptr %third_here, i1 %end2, i1 %end3, i8 %n2, i8 %n3)
  br i1 %right, label %match, label %wrong
wrong:
  %left_less = sub i32 %left, 1
  %left_next = and i32 %left, %left_less
  br label %look
ended:
  %over = icmp ne i32 %maskz, 0
  br i1 %over, label %absent, label %unended
unended:
  %at_low = and i64 %at, 65535
  %behind = icmp eq i64 %at_low, 0
  br i1 %behind, label %beyond, label %goon
goon:
  %next = add i64 %at, 16
  br label %block
beyond: ; a pair may begin with the last byte
  %back = add i64 %at, 15
  br label %big
match:
  %found = phi i64 [ %big_start, %big_pair ], [ %start, %pair ]
  ret i64 %found
absent:
  ret i64 0
original:
  ret i64 -1
}

; Whether what follows a pair is the rest of the wanted bytes.
define hidden i1 @known_goes_on(ptr %third_here, i1 %end2, i1 %end3, i8 %n2, i8 %n3) #1 {
entry:
  br i1 %end2, label %yes, label %third
third:
  %third_byte = load volatile i8, ptr %third_here, align 1
  %third_same = icmp eq i8 %third_byte, %n2
  br i1 %third_same, label %third_right, label %no
third_right:
  br i1 %end3, label %yes, label %fourth
fourth:
  %fourth_here = getelementptr i8, ptr %third_here, i64 1
  %fourth_byte = load volatile i8, ptr %fourth_here, align 1
  %fourth_same = icmp eq i8 %fourth_byte, %n3
  br i1 %fourth_same, label %yes, label %no
yes:
  ret i1 true
no:
  ret i1 false
}

declare i16 @llvm.cttz.i16(i16, i1)
declare i64 @llvm.cttz.i64(i64, i1)
declare i32 @llvm.cttz.i32(i32, i1)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memmove.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)

attributes #0 = { nounwind uwtable "no-builtins" }
attributes #1 = { alwaysinline nounwind uwtable "no-builtins" }
attributes #2 = { noinline nounwind uwtable "no-builtins" }
