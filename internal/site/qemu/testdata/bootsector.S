# The boot sector of the accelerator trial: as -o b.o bootsector.S && ld -m elf_x86_64 -Ttext 0x7c00 --oformat binary -o b.bin b.o
.code16
.globl _start
_start:
  cli
  xor %ax,%ax
  mov %ax,%ds
  mov %ax,%es
  mov %ax,%ss
  mov $0x7c00,%sp
  # page tables at 0x1000: PML4, PDPT at 0x2000, PD at 0x3000 with one page of 2 MiB
  mov $0x1000,%edi
  mov %edi,%cr3
  xor %eax,%eax
  mov $0xc00,%ecx
  cld
  rep stosl
  movl $0x2003,0x1000
  movl $0x3003,0x2000
  movl $0x83,0x3000
  mov %cr4,%eax
  or $0x20,%al
  mov %eax,%cr4
  mov $0xc0000080,%ecx
  rdmsr
  or $0x100,%ax
  wrmsr
  mov %cr0,%eax
  or $0x80000001,%eax
  mov %eax,%cr0
  lgdt gdtr
  ljmp $8,$long
.code64
long:
  # an atomic exchange of 16 bytes, as kernels use for page tables and slabs
  mov $0x4000,%edi
  xor %eax,%eax
  xor %edx,%edx
  xor %ebx,%ebx
  mov $0x5555,%ecx
  movq $0,(%rdi)
  movq $0,8(%rdi)
  lock cmpxchg16b (%rdi)
  jnz bad
  cmpq $0x5555,8(%rdi)
  jne bad
  mov $0x10,%al
  out %al,$0xf4
bad:
  hlt
  jmp bad
.align 8
gdt:
  .quad 0
  .quad 0x00209a0000000000
gdtr:
  .word 15
  .long gdt
