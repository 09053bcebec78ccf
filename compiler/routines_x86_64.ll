; What routines.ll asks of x86-64: the string instructions, which the microcode turns into whole
; cache lines on every processor since Ivy Bridge, and the sizes from which to use them. The sizes
; lie between what was measured on Zen with vectors of 16 bytes, where the string instructions win
; from 1 to 2 KiB on, and of 32 bytes: there from 32 KiB to copy, beyond 256 KiB to fill.

define internal i64 @copy_large_from() #1 {
  ret i64 4096
}

define internal i64 @fill_large_from() #1 {
  ret i64 16384
}

define internal void @copy_large(ptr %d, ptr %s, i64 %n) #1 {
  %ends = call { ptr, ptr, i64 } asm sideeffect "rep movsb", "={di},={si},={cx},0,1,2,~{memory},~{dirflag},~{fpsr},~{flags}"(ptr %d, ptr %s, i64 %n)
  ret void
}

define internal void @fill_large(ptr %d, i8 %byte, i64 %n) #1 {
  %ends = call { ptr, i64 } asm sideeffect "rep stosb", "={di},={cx},0,1,{ax},~{memory},~{dirflag},~{fpsr},~{flags}"(ptr %d, i64 %n, i8 %byte)
  ret void
}

attributes #1 = { alwaysinline nounwind uwtable "no-builtins" }
