; memmove (which is memcpy too) and memset, for the calls that LLVM makes up and for memory.copy
; and memory.fill. Linked into one partition of every object, see routines.c.
;
; Small sizes branch on size classes and move the first and the last bytes of the class, which
; overlap in the middle: all loads come before all stores, so overlapping operands need no care.
; Above 128 bytes a loop moves 64 a turn to an aligned destination; the ends, loaded before and
; stored after it, cover what the loop leaves. Very large sizes go to @copy_large and @fill_large,
; which the processor's own file defines together with the sizes they are good for.
;
; <32 x i8> is one register or two, as the target has it. "no-builtins" keeps the loops from being
; recognised as calls of themselves.

@memcpy = hidden alias ptr (ptr, ptr, i64), ptr @memmove

define hidden ptr @memmove(ptr %d, ptr %s, i64 %n) #0 {
  %over16 = icmp ugt i64 %n, 16
  br i1 %over16, label %above16, label %upto16

upto16:
  %over7 = icmp ugt i64 %n, 7
  br i1 %over7, label %from8, label %upto7

from8:
  %at8 = add i64 %n, -8
  %s8 = getelementptr i8, ptr %s, i64 %at8
  %d8 = getelementptr i8, ptr %d, i64 %at8
  %first8 = load i64, ptr %s, align 1
  %last8 = load i64, ptr %s8, align 1
  store i64 %first8, ptr %d, align 1
  store i64 %last8, ptr %d8, align 1
  ret ptr %d

upto7:
  %over3 = icmp ugt i64 %n, 3
  br i1 %over3, label %from4, label %upto3

from4:
  %at4 = add i64 %n, -4
  %s4 = getelementptr i8, ptr %s, i64 %at4
  %d4 = getelementptr i8, ptr %d, i64 %at4
  %first4 = load i32, ptr %s, align 1
  %last4 = load i32, ptr %s4, align 1
  store i32 %first4, ptr %d, align 1
  store i32 %last4, ptr %d4, align 1
  ret ptr %d

upto3:
  %none = icmp eq i64 %n, 0
  br i1 %none, label %done, label %from1

from1: ; one to three: first, middle, last
  %middle = lshr i64 %n, 1
  %at1 = add i64 %n, -1
  %s_middle = getelementptr i8, ptr %s, i64 %middle
  %s1 = getelementptr i8, ptr %s, i64 %at1
  %d_middle = getelementptr i8, ptr %d, i64 %middle
  %d1 = getelementptr i8, ptr %d, i64 %at1
  %first1 = load i8, ptr %s, align 1
  %middle1 = load i8, ptr %s_middle, align 1
  %last1 = load i8, ptr %s1, align 1
  store i8 %first1, ptr %d, align 1
  store i8 %middle1, ptr %d_middle, align 1
  store i8 %last1, ptr %d1, align 1
  br label %done

done:
  ret ptr %d

above16:
  %s_end = getelementptr i8, ptr %s, i64 %n
  %d_end = getelementptr i8, ptr %d, i64 %n
  %over32 = icmp ugt i64 %n, 32
  br i1 %over32, label %above32, label %from17

from17:
  %s16 = getelementptr i8, ptr %s_end, i64 -16
  %d16 = getelementptr i8, ptr %d_end, i64 -16
  %first16 = load <16 x i8>, ptr %s, align 1
  %last16 = load <16 x i8>, ptr %s16, align 1
  store <16 x i8> %first16, ptr %d, align 1
  store <16 x i8> %last16, ptr %d16, align 1
  ret ptr %d

above32: ; every larger size begins and ends with 32 bytes
  %s32 = getelementptr i8, ptr %s_end, i64 -32
  %d32 = getelementptr i8, ptr %d_end, i64 -32
  %first = load <32 x i8>, ptr %s, align 1
  %last = load <32 x i8>, ptr %s32, align 1
  %over64 = icmp ugt i64 %n, 64
  br i1 %over64, label %above64, label %from33

from33:
  store <32 x i8> %first, ptr %d, align 1
  store <32 x i8> %last, ptr %d32, align 1
  ret ptr %d

above64:
  %s64 = getelementptr i8, ptr %s_end, i64 -64
  %d64 = getelementptr i8, ptr %d_end, i64 -64
  %s_second = getelementptr i8, ptr %s, i64 32
  %d_second = getelementptr i8, ptr %d, i64 32
  %over128 = icmp ugt i64 %n, 128
  br i1 %over128, label %above128, label %from65

from65:
  %second = load <32 x i8>, ptr %s_second, align 1
  %third = load <32 x i8>, ptr %s64, align 1
  store <32 x i8> %first, ptr %d, align 1
  store <32 x i8> %second, ptr %d_second, align 1
  store <32 x i8> %third, ptr %d64, align 1
  store <32 x i8> %last, ptr %d32, align 1
  ret ptr %d

above128: ; backward only where the destination begins inside the source
  %d_address = ptrtoint ptr %d to i64
  %s_address = ptrtoint ptr %s to i64
  %ahead = sub i64 %d_address, %s_address
  %forward = icmp uge i64 %ahead, %n
  br i1 %forward, label %go_forward, label %go_backward

go_forward:
  %behind = sub i64 0, %ahead
  %apart = icmp uge i64 %behind, %n
  %least = call i64 @copy_large_from()
  %large = icmp uge i64 %n, %least
  %both = and i1 %apart, %large
  br i1 %both, label %use_large, label %forward_begin

use_large:
  tail call void @copy_large(ptr %d, ptr %s, i64 %n)
  ret ptr %d

forward_begin:
  %before_last = load <32 x i8>, ptr %s64, align 1
  %f_misaligned = and i64 %d_address, 31
  %f_start = sub i64 32, %f_misaligned
  %f_stop = add i64 %n, -64
  br label %forward_loop

forward_loop:
  %f_at = phi i64 [ %f_start, %forward_begin ], [ %f_next, %forward_loop ]
  %f_s0 = getelementptr i8, ptr %s, i64 %f_at
  %f_s1 = getelementptr i8, ptr %f_s0, i64 32
  %f_d0 = getelementptr i8, ptr %d, i64 %f_at
  %f_d1 = getelementptr i8, ptr %f_d0, i64 32
  %f_v0 = load <32 x i8>, ptr %f_s0, align 1
  %f_v1 = load <32 x i8>, ptr %f_s1, align 1
  store <32 x i8> %f_v0, ptr %f_d0, align 32
  store <32 x i8> %f_v1, ptr %f_d1, align 32
  %f_next = add i64 %f_at, 64
  %f_more = icmp ult i64 %f_next, %f_stop
  br i1 %f_more, label %forward_loop, label %forward_end, !llvm.loop !0

forward_end:
  store <32 x i8> %before_last, ptr %d64, align 1
  store <32 x i8> %last, ptr %d32, align 1
  store <32 x i8> %first, ptr %d, align 1
  ret ptr %d

go_backward:
  %after_first = load <32 x i8>, ptr %s_second, align 1
  %b_end = ptrtoint ptr %d_end to i64
  %b_misaligned = and i64 %b_end, 31
  %b_start = sub i64 %n, %b_misaligned
  br label %backward_loop

backward_loop:
  %b_at = phi i64 [ %b_start, %go_backward ], [ %b_next, %backward_loop ]
  %b_next = add i64 %b_at, -64
  %b_s0 = getelementptr i8, ptr %s, i64 %b_next
  %b_s1 = getelementptr i8, ptr %b_s0, i64 32
  %b_d0 = getelementptr i8, ptr %d, i64 %b_next
  %b_d1 = getelementptr i8, ptr %b_d0, i64 32
  %b_v0 = load <32 x i8>, ptr %b_s0, align 1
  %b_v1 = load <32 x i8>, ptr %b_s1, align 1
  store <32 x i8> %b_v0, ptr %b_d0, align 32
  store <32 x i8> %b_v1, ptr %b_d1, align 32
  %b_more = icmp ugt i64 %b_next, 64
  br i1 %b_more, label %backward_loop, label %backward_end, !llvm.loop !0

backward_end:
  store <32 x i8> %after_first, ptr %d_second, align 1
  store <32 x i8> %first, ptr %d, align 1
  store <32 x i8> %last, ptr %d32, align 1
  ret ptr %d
}

define hidden ptr @memset(ptr %d, i32 %c, i64 %n) #0 {
  %byte = trunc i32 %c to i8
  %byte_vector = insertelement <32 x i8> poison, i8 %byte, i64 0
  %v32 = shufflevector <32 x i8> %byte_vector, <32 x i8> poison, <32 x i32> zeroinitializer
  %over16 = icmp ugt i64 %n, 16
  br i1 %over16, label %above16, label %upto16

upto16:
  %byte64 = zext i8 %byte to i64
  %v8 = mul i64 %byte64, 72340172838076673 ; 0x0101010101010101
  %over7 = icmp ugt i64 %n, 7
  br i1 %over7, label %from8, label %upto7

from8:
  %at8 = add i64 %n, -8
  %d8 = getelementptr i8, ptr %d, i64 %at8
  store i64 %v8, ptr %d, align 1
  store i64 %v8, ptr %d8, align 1
  ret ptr %d

upto7:
  %over3 = icmp ugt i64 %n, 3
  br i1 %over3, label %from4, label %upto3

from4:
  %v4 = trunc i64 %v8 to i32
  %at4 = add i64 %n, -4
  %d4 = getelementptr i8, ptr %d, i64 %at4
  store i32 %v4, ptr %d, align 1
  store i32 %v4, ptr %d4, align 1
  ret ptr %d

upto3:
  %none = icmp eq i64 %n, 0
  br i1 %none, label %done, label %from1

from1:
  %middle = lshr i64 %n, 1
  %at1 = add i64 %n, -1
  %d_middle = getelementptr i8, ptr %d, i64 %middle
  %d1 = getelementptr i8, ptr %d, i64 %at1
  store i8 %byte, ptr %d, align 1
  store i8 %byte, ptr %d_middle, align 1
  store i8 %byte, ptr %d1, align 1
  br label %done

done:
  ret ptr %d

above16:
  %d_end = getelementptr i8, ptr %d, i64 %n
  %over32 = icmp ugt i64 %n, 32
  br i1 %over32, label %above32, label %from17

from17:
  %v16 = shufflevector <32 x i8> %byte_vector, <32 x i8> poison, <16 x i32> zeroinitializer
  %d16 = getelementptr i8, ptr %d_end, i64 -16
  store <16 x i8> %v16, ptr %d, align 1
  store <16 x i8> %v16, ptr %d16, align 1
  ret ptr %d

above32:
  %least = call i64 @fill_large_from()
  %large = icmp uge i64 %n, %least
  br i1 %large, label %use_large, label %in_vectors

use_large:
  tail call void @fill_large(ptr %d, i8 %byte, i64 %n)
  ret ptr %d

in_vectors:
  %d32 = getelementptr i8, ptr %d_end, i64 -32
  store <32 x i8> %v32, ptr %d, align 1
  store <32 x i8> %v32, ptr %d32, align 1
  %over64 = icmp ugt i64 %n, 64
  br i1 %over64, label %above64, label %done

above64:
  %d_second = getelementptr i8, ptr %d, i64 32
  %d64 = getelementptr i8, ptr %d_end, i64 -64
  store <32 x i8> %v32, ptr %d_second, align 1
  store <32 x i8> %v32, ptr %d64, align 1
  %over128 = icmp ugt i64 %n, 128
  br i1 %over128, label %loop_begin, label %done

loop_begin:
  %d_address = ptrtoint ptr %d to i64
  %misaligned = and i64 %d_address, 31
  %start = sub i64 64, %misaligned
  %stop = add i64 %n, -64
  br label %loop

loop:
  %at = phi i64 [ %start, %loop_begin ], [ %next, %loop ]
  %l_d0 = getelementptr i8, ptr %d, i64 %at
  %l_d1 = getelementptr i8, ptr %l_d0, i64 32
  store <32 x i8> %v32, ptr %l_d0, align 32
  store <32 x i8> %v32, ptr %l_d1, align 32
  %next = add i64 %at, 64
  %more = icmp ult i64 %next, %stop
  br i1 %more, label %loop, label %done, !llvm.loop !0
}

attributes #0 = { nounwind uwtable "no-builtins" }

!0 = distinct !{!0, !1}
!1 = !{!"llvm.loop.unroll.disable"}
