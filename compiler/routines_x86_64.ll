; What routines.ll asks of x86-64: the string instructions, which the microcode turns into whole
; cache lines on every processor since Ivy Bridge, and the sizes from which they win.

define internal i64 @copy_large_from() #1 {
  ret i64 2048
}

define internal i64 @fill_large_from() #1 {
  ret i64 2048
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
