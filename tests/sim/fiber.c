/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* Stacks, and how to switch between them.
 *
 * A stack is mapped once, with a page below it that nobody may touch, and
 * recycled for ever.  When it is new, its first function is entered by
 * setcontext, remembers where it is, and goes back at once; from then on a
 * fiber begins, goes on, and is dropped by _longjmp alone, which costs a few
 * nanoseconds and no system call.  What lies further up on the stack of a
 * dropped fiber is just forgotten: nothing in C wants to be told.
 *
 * AddressSanitizer wants to be told, and takes a _longjmp for the end of all
 * frames above: with it, switching is done by swapcontext, and a fiber that
 * is dropped is entered once more, to leave for good.
 *
 * A fiber is entered only from the scheduler of its world and leaves only to
 * it.  One OS thread, no locks.
 */

#include <config.h>

/* _longjmp is to jump from stack to stack: no check that it goes upwards. */
#undef _FORTIFY_SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "sim/fiber.h"

#if SIM_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define STACK_SIZE (256 * 1024)
#else
#define STACK_SIZE (64 * 1024)
#endif
#define GUARD_SIZE (64 * 1024) /* whole pages, however large these are */

struct stack {
  struct stack *next; /* in the pool */
  char *memory;       /* above the guard */
#if !SIM_ASAN
  jmp_buf start; /* longjmp here: fiber_main, on this stack */
#endif
};

static struct stack *pool;

#if SIM_ASAN

void
fiber_enter (struct fiber *fiber)
{
  void *fake;

  fiber->started = true;
  __sanitizer_start_switch_fiber (&fake, fiber->stack->memory, STACK_SIZE);
  if (swapcontext (&fiber->home->ucontext, &fiber->context.ucontext) == -1)
    abort ();
  __sanitizer_finish_switch_fiber (fake, NULL, NULL);
}

void
fiber_leave (struct fiber *fiber)
{
  struct context *home = fiber->home;

  __sanitizer_start_switch_fiber (&fiber->context.fake, home->bottom,
                                  home->size);
  if (swapcontext (&fiber->context.ucontext, &home->ucontext) == -1)
    abort ();
  __sanitizer_finish_switch_fiber (fiber->context.fake, &home->bottom,
                                   &home->size);
  if (fiber->dropped)
    fiber_exit (fiber);
}

void
fiber_exit (struct fiber *fiber)
{
  struct context *home = fiber->home;

  __sanitizer_start_switch_fiber (NULL, home->bottom, home->size);
  setcontext (&home->ucontext);
  abort ();
}

static void
stack_main (void)
{
  struct context *home = world_self ()->home;

  __sanitizer_finish_switch_fiber (NULL, &home->bottom, &home->size);
  fiber_main ();
}

static void
stack_prepare (struct stack *stack, struct fiber *fiber)
{
  ucontext_t *ucontext = &fiber->context.ucontext;

  if (getcontext (ucontext) == -1)
    abort ();
  ucontext->uc_link = NULL;
  ucontext->uc_stack.ss_sp = stack->memory;
  ucontext->uc_stack.ss_size = STACK_SIZE;
  makecontext (ucontext, stack_main, 0);
  /* Else the sanitizer unpoisons the whole stack at each switch. */
  ucontext->uc_stack.ss_size = 0;
}

#else /* !SIM_ASAN */

/* Nothing but this in one function: no local variable is alive across. */
static void __attribute__ ((noinline)) jump (jmp_buf from, jmp_buf to)
{
  if (_setjmp (from) == 0)
    _longjmp (to, 1);
}

void
fiber_enter (struct fiber *fiber)
{
  if (fiber->started) {
    jump (fiber->home->jump, fiber->context.jump);
    return;
  }
  fiber->started = true;
  jump (fiber->home->jump, fiber->stack->start);
}

void
fiber_leave (struct fiber *fiber)
{
  jump (fiber->context.jump, fiber->home->jump);
}

void
fiber_exit (struct fiber *fiber)
{
  _longjmp (fiber->home->jump, 1);
}

static jmp_buf maker;
static struct stack *made;

static void
stack_main (void)
{
  if (_setjmp (made->start) == 0)
    _longjmp (maker, 1);
  fiber_main ();
}

static void __attribute__ ((noinline)) stack_visit (const ucontext_t *ucontext)
{
  if (_setjmp (maker) == 0) {
    setcontext (ucontext);
    abort ();
  }
}

static void
stack_prepare (struct stack *stack)
{
  ucontext_t ucontext;

  if (getcontext (&ucontext) == -1)
    abort ();
  ucontext.uc_link = NULL;
  ucontext.uc_stack.ss_sp = stack->memory;
  ucontext.uc_stack.ss_size = STACK_SIZE;
  makecontext (&ucontext, stack_main, 0);
  made = stack;
  stack_visit (&ucontext);
}

#endif /* !SIM_ASAN */

static struct stack *
stack_new (void)
{
  struct stack *stack = malloc (sizeof *stack);
  char *memory = mmap (NULL, GUARD_SIZE + STACK_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

  if (!stack || memory == MAP_FAILED
      || mprotect (memory, GUARD_SIZE, PROT_NONE) == -1) {
    perror ("stack of a fiber");
    abort ();
  }
  stack->memory = memory + GUARD_SIZE;
#if !SIM_ASAN
  stack_prepare (stack);
#endif
  return stack;
}

void
fiber_take_stack (struct fiber *fiber)
{
  struct stack *stack = pool;

  if (stack)
    pool = stack->next;
  else
    stack = stack_new ();
#if SIM_ASAN
  stack_prepare (stack, fiber);
#endif
  fiber->stack = stack;
}

void
fiber_give_stack (struct fiber *fiber)
{
  struct stack *stack = fiber->stack;

#if SIM_ASAN
  if (fiber->started && !fiber->ended) {
    fiber->dropped = true;
    fiber_enter (fiber);
  }
  ASAN_UNPOISON_MEMORY_REGION (stack->memory, STACK_SIZE);
#endif
  fiber->stack = NULL;
  stack->next = pool;
  pool = stack;
}
