/* SPDX-License-Identifier: BSD-3-Clause */
/* Copyright 2026 The mdbitmap authors. */

/* The protocol of the mirror, for spin: every schedule, every crash, every
 * subset of what the caches held.  tests/test-model.sh runs it.
 *
 * What is modelled: two legs with volatile caches; two chunks, whose bits
 * share one page; two writers at once, a client that flushes, lazy clear,
 * clean and not clean, legs that fail a write or a flush, recording that with
 * events, resync; crashes of the power or of the server alone, at any point
 * (during assembly, recording and resync too); assembly of both legs or of
 * one, and an operator who starts one leg alone by force.  All is as lib/array
 * and lib/bitmap do it; the names are theirs.
 *
 * Each thread of the server is a process that loops over rules, and a rule
 * is one step under the array's lock, or one operation that one leg carries
 * out.  Where a thread stands is a global (wpc, cpc, ...), so that a crash
 * puts all threads back at once.  A rule without a choice is a d_step.
 *
 * Why one step per operation of a leg is enough.  A write that was submitted
 * and has not ended is on the medium, or in the cache, or nowhere; a crash
 * then leaves what a crash just before the step or just after it leaves.  A
 * flush covers what ended before it was submitted, and perhaps more; it may
 * take effect late, and the thread may go on later still: the step can come
 * anywhere in between.  A read that overlaps a write sees old or new.
 * Operations of different legs are separate steps, in any order.
 *
 * The cache.  Writes of a sector are numbered.  may[l, s] is the set of
 * numbers that leg l may have in sector s after a crash now, now[l, s] the
 * one that a read sees.  A write adds its number to may, a flush leaves only
 * now.  As sectors survive independently, "whatever a crash leaves" is a
 * statement about these sets, and the monitor makes it in every state.  A
 * crash that happens picks one number from each.  Superblocks and pages of
 * the bitmap are written with FUA and never lie in a cache.
 *
 * What is left out, and why that is enough:
 *   - More than two legs: with two, a record is a single update of + 2.  The
 *     pairs of + 1 that three legs need are the simulator's.
 *   - Re-adding a leg: not built yet.  A leg that is out stays out; so bits
 *     of a degraded array and events_cleared protect nothing here, and I10
 *     is checked as a part of I4.
 *   - The bitmap's own events and STALE: they go to all legs before the
 *     superblocks; a copy whose header is late counts as all set, which is
 *     never too few bits.  That write carries the page as it is, which
 *     rounds do as well.
 *   - Age of chunks, group commit's gathering, rates, deadlines: a thread here
 *     may act whenever it is allowed to, which includes every such timing.
 *   - Legs that hang: a failed write here may or may not have happened.  That
 *     it happens later still, or after the server was killed and has come
 *     back, is left to the simulator, and so are read errors.
 *   - A cache whose flush failed, seen by the next server: see LOST_ANYWAY.
 *   - A flush that is shared, or skipped as nothing was written: each flush
 *     is its own here, and without need has no effect.  That they go one
 *     after the other is modelled, since it matters.
 *   - Bytes, checksums, requests that span chunks, torn superblocks: the
 *     simulator.  Pages are torn with TORN, writes have FUA with FUA.
 *
 * What bounds the search: numbers of writes, flushes, errors, crashes and
 * forced starts (below).  Threads in the background do what they do as often
 * as they like.
 *
 * What must hold, in every state (ONLY=n: nothing but n is looked at):
 *    1  I1   where in-sync legs may differ, all copies have the bit, and no
 *            superblock that counts says clean
 *    2  I2   what was flushed is on every leg that assembly accepts
 *    3  I3   a leg that missed something answered is on record as faulty, and
 *   31  I3a  two events behind, and
 *            alone it is not accepted (I3b)
 *    4  I4   a bit is cleared only with no writer, all slots in sync, legs
 *            equal for ever; and lands so
 *    6  I6   a read that any leg may serve sees what was answered last
 *   12  I12  assembly of both legs never trusts one that missed something; of
 *            two histories it refuses both
 *   20  A    without force, both legs together are always accepted
 *   21  L    nobody waits for ever
 *
 * Switches that break it; test-model.sh shows that each is found, and which
 * of the above it breaks:
 *   MD_CLEAR        md's clear: each leg is flushed before its own page (F1)
 *   MD_FLUSH        md's flush: errors are ignored (F2)
 *   DATA_FIRST      data goes out before the bits are durable
 *   OTHERS_BIT      only who set a bit waits for it
 *   ONE_COPY        bits go to the source's copy only
 *   CLEAR_EARLY     the image is cleared when chunks are chosen
 *   CLEAR_TOUCHED   ... even if a writer came meanwhile
 *   CLEAR_DEGRADED  bits are cleared without a leg
 *   CLEAR_SYNCED    resync clears the bits itself
 *   ACTIVE_LATE     writers do not wait for not-clean
 *   CLEAN_RACE      ... nor for the end of going clean
 *   SKIP_FLUSH      a leg not written to since the start is not flushed
 *   FLUSH_TWICE     a second flush may go out before the first is judged
 *   ANSWER_FIRST    answers do not wait for the record
 *   PUBLISH_FIRST   bits that a failed leg has not are called durable
 *   EVENTS_1        a record is one event ahead
 *   START_2         a record at a start is two ahead, not three
 *   WAVES_1         ... of the events known durable, not of those tried
 *   NO_BEHIND       a leg that is one event behind is not brought up first
 *   NO_RETRY        a round that failed is forgotten
 *   NO_RANGE        resync does not lock out writers
 *   ANY_SOURCE      what needs resync is read from any leg
 *   SPLIT           a split brain is assembled, the freshest first
 *   KILL_LOSSY      not a rule of ours but one for the world: see LOST_ANYWAY
 */

/* ---- bounds ---- */

#ifndef SECTORS
#define SECTORS 3 /* 2 or 3; the last one is chunk 1, others are chunk 0 */
#endif
#ifndef WRITERS
#define WRITERS 2 /* at once */
#endif
#ifndef WRITES
#define WRITES 2
#endif
#ifndef FLUSHES
#define FLUSHES 1
#endif
#ifndef ERRORS
#define ERRORS 1
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef FORCES
#define FORCES 0
#endif

#ifdef ONLY
#define CHECKED(n) (ONLY == n)
#else
#define CHECKED(n) 1
#endif

/* Never true: they put a name into the message of an assertion. */
hidden byte I1, I2, I3, I3a, I4, I6, I12, A, L;

/* ---- the legs ---- */

#define LEG(l)   (1 << (l))
#define BOTH     3
#define OTHER(l) (1 - (l))
#define AT(l, s) ((l) * SECTORS + (s))
#define BIT(s)   (1 << ((s) == SECTORS - 1))

byte may[2 * SECTORS] = 1; /* sets of numbers; at first number 0 */
byte now[2 * SECTORS];
byte pages[2];    /* the bits on the medium */
byte events[2];   /* the superblock: its events, */
bit clean[2] = 1; /* is it clean, */
bit calls[2];     /* and does it call the other leg faulty? */
unsigned lossy : 2; /* legs whose flush failed: not what they were */

/* ---- the server's memory ---- */

#define DOWN      0
#define STARTING  1 /* assembled; first writes of metadata */
#define ACTIVATED 2
#define BROKEN    3 /* its metadata could not be written */
unsigned state : 2;

unsigned in_sync : 2; /* legs */
bit failed;    /* array->failures > array->recorded */
unsigned margin : 2;
byte known;    /* array->events */
byte tried;    /* array->events_tried */
bit going;     /* array->clean: what the next update writes */
bit table;     /* ... and what the last one wrote */
bit wanted;    /* an update that starts later than now */
#define CLEAN        0
#define GOING_ACTIVE 1
#define ACTIVE       2
#define GOING_CLEAN  3
unsigned activity : 2;

/* Chunks, as sets: SET, DURABLE, in the round that is being led, NEEDED,
 * CHOSEN; and is the page dirty?
 */
unsigned set : 2, durable : 2, led : 2, needed : 2, chosen : 2;
bit dirty;

/* Threads: where they stand, operations still to do and those that failed,
 * both as sets of legs.
 */
#define W_IDLE   0
#define W_START  1 /* has the range; waits for not-clean */
#define W_BITS   2
#define W_SEND   3
#define W_SETTLE 4
byte wpc[WRITERS], wsector[WRITERS], wnumber[WRITERS];
byte wsent[WRITERS], wtodo[WRITERS], wbad[WRITERS];
#ifdef OTHERS_BIT
bit wmine[WRITERS];
#endif
#ifdef FUA
bit wfua[WRITERS];
#endif

#define F_IDLE   0
#define F_FLUSH  1
#define F_SETTLE 2
unsigned fpc : 2, fsent : 2, ftodo : 2, fbad : 2;
byte fsaw[SECTORS];

#define C_IDLE    0
#define C_FLUSH   1
#define C_CLEAN   2 /* flushing, going clean */
#define C_SETTLE  3
#define C_UPDATE  4
unsigned cpc : 3, ctodo : 2, cbad : 2;

#define R_IDLE   0
#define R_WRITE  1
#define R_SETTLE 2
unsigned rpc : 2, rtodo : 2, rbad : 2, image : 2;

#define M_IDLE   0
#define M_BEHIND 1 /* a leg that is one event behind */
#define M_FIRST  2 /* the first wave: not the source */
#define M_SOURCE 3 /* the second wave, or the only leg */
unsigned mpc : 2, mlegs : 2;
byte mnext;
bit mclean, mfailed, mserves;

#define S_IDLE   0
#define S_SEND   1
#define S_SETTLE 2
unsigned spc : 2, ssector : 2, snumber : 3, sdone : 3;

/* ---- what the clients know, and what is left to do ---- */

byte number[SECTORS]; /* of the newest write */
byte answered[SECTORS]; /* every in-sync leg has this, or newer */
byte flushed[SECTORS];  /* ... and durably */
unsigned missed : 2; /* legs that have missed something that was answered */
bit forced;   /* an operator has taken the risk */

unsigned writes_left : 3 = WRITES, flushes_left : 3 = FLUSHES,
  errors_left : 3 = ERRORS, crashes_left : 3 = CRASHES,
  forces_left : 3 = FORCES;

/* ---- assembly (assemble.c) ---- */

/* Each says that the other is faulty, or the older one says so. */
#define SPLIT_BRAIN                           \
  ((calls[0] && calls[1])                     \
   || (calls[0] && events[0] < events[1])     \
   || (calls[1] && events[1] < events[0]))
#define WITHIN_ONE \
  (events[0] <= events[1] + 1 && events[1] <= events[0] + 1)

/* Legs in sync if both are given; 0: refused. */
#ifdef SPLIT
#define FRESHEST (events[0] >= events[1] -> 0 : 1)
#define PAIR \
  (LEG (FRESHEST) | (WITHIN_ONE && !calls[FRESHEST] -> BOTH : 0))
#else
#define PAIR                                                             \
  (SPLIT_BRAIN -> 0                                                      \
               : (calls[0] -> 1                                          \
                           : (calls[1] -> 2 : (WITHIN_ONE -> BOTH : 0))))
#endif
/* Is one leg given alone accepted?  Its peer's loss must be on record. */
#define ALONE(l) (calls[l])

/* The freshest says not clean; if both are, each. */
#define NOT_CLEAN                         \
  ((events[0] < events[1] || !clean[0])   \
   && (events[1] < events[0] || !clean[1]))

/* ---- what must hold ---- */

#define ONE_NUMBER(set) (((set) & ((set) - 1)) == 0)
#define EQUAL(s) ONE_NUMBER (may[AT (0, s)] | may[AT (1, s)])
#define COVERED(s) \
  (EQUAL (s) || ((pages[0] & pages[1] & BIT (s)) && NOT_CLEAN))
#define KEPT(l, s) ((may[AT (l, s)] & ((1 << flushed[s]) - 1)) == 0)

#if SECTORS == 3
#define ALL_SECTORS(p)     (p (0) && p (1) && p (2))
#define ALL_SECTORS2(p, l) (p (l, 0) && p (l, 1) && p (l, 2))
#define SECTORS_OF(bits)   (((bits) & 1 -> 3 : 0) | ((bits) & 2 -> 4 : 0))
#else
#define ALL_SECTORS(p)     (p (0) && p (1))
#define ALL_SECTORS2(p, l) (p (l, 0) && p (l, 1))
#define SECTORS_OF(bits)   (bits)
#endif

#define I1_HOLDS (PAIR != BOTH || ALL_SECTORS (COVERED))

/* Who is accepted after a crash now?  Alone: if nobody took a risk. */
#define TRUSTED(l) ((PAIR & LEG (l)) || (ALONE (l) && !forced))
#define I2_LEG(l)  (!TRUSTED (l) || ALL_SECTORS2 (KEPT, l))
#define I2_HOLDS   (I2_LEG (0) && I2_LEG (1))

#define BEHIND(l) ((missed & LEG (l)) && !(missed & LEG (OTHER (l))))
#define I3_LEG(l) \
  (!BEHIND (l) || (calls[OTHER (l)] && (forced || !ALONE (l))))
#define I3_HOLDS   (I3_LEG (0) && I3_LEG (1))
/* If each calls the other faulty both are refused, whatever their events. */
#define I3A_LEG(l)                             \
  (!BEHIND (l) || (calls[0] && calls[1])       \
   || events[OTHER (l)] >= events[l] + 2)
#define I3A_HOLDS  (I3A_LEG (0) && I3A_LEG (1))

#define I12_HOLDS ((PAIR & missed) == 0)

#define WRITING(w, s)  (wpc[w] != W_IDLE && wsector[w] == (s))
#if WRITERS == 2
#define WRITTEN(s)     (WRITING (0, s) || WRITING (1, s))
#define COUNTED(w)     (wpc[w] >= W_BITS -> BIT (wsector[w]) : 0)
#define WRITERS_BITS   (COUNTED (0) | COUNTED (1))
#define SENDING(w)     (wpc[w] == W_SEND -> BIT (wsector[w]) : 0)
#define SENDING_BITS   (SENDING (0) | SENDING (1))
#define NO_WRITERS     (wpc[0] == W_IDLE && wpc[1] == W_IDLE)
#else
#define WRITTEN(s)     WRITING (0, s)
#define COUNTED(w)     (wpc[w] >= W_BITS -> BIT (wsector[w]) : 0)
#define WRITERS_BITS   COUNTED (0)
#define SENDING(w)     (wpc[w] == W_SEND -> BIT (wsector[w]) : 0)
#define SENDING_BITS   SENDING (0)
#define NO_WRITERS     (wpc[0] == W_IDLE)
#endif

#define SOURCE (in_sync & 1 -> 0 : 1)
#ifdef ANY_SOURCE
#define SERVES(l, s) (in_sync & LEG (l))
#else
#define SERVES(l, s) \
  ((in_sync & LEG (l)) && (!(needed & BIT (s)) || SOURCE == (l)))
#endif
/* Where legs may differ after a crash, the source's is the truth: what was
 * answered, or newer.
 */
#define READ_IS_GOOD(l, s)                                             \
  (!SERVES (l, s) || WRITTEN (s) || now[AT (l, s)] == answered[s]      \
   || ((needed & BIT (s)) && now[AT (l, s)] == now[AT (SOURCE, s)]     \
       && now[AT (l, s)] > answered[s]))
#define I6_HOLDS                              \
  (state == DOWN                              \
   || (ALL_SECTORS2 (READ_IS_GOOD, 0) && ALL_SECTORS2 (READ_IS_GOOD, 1)))

#define A_HOLDS (forced || PAIR != 0)

#define QUIET                                                         \
  (state == DOWN || state == BROKEN                                   \
   || (state == ACTIVATED && NO_WRITERS && fpc == F_IDLE && cpc == C_IDLE \
       && rpc == R_IDLE && mpc == M_IDLE && spc == S_IDLE))

/* ---- operations of legs ---- */

#ifdef SKIP_FLUSH
byte busy; /* legs that were written to since the start */
#define BUSY(l)       busy = busy | LEG (l)
#define MUST_FLUSH(l) (busy & LEG (l))
#else
#define BUSY(l)       skip
#define MUST_FLUSH(l) 1
#endif

inline leg_write (l, s, n)
{
  BUSY (l);
  may[AT (l, s)] = may[AT (l, s)] | (1 << (n));
  now[AT (l, s)] = n
}

inline leg_sync_sector (l, s)
{
  may[AT (l, s)] = 1 << now[AT (l, s)]
}

/* After one that failed, no flush does anything: the worst that a disk may
 * do is to say yes all the same.
 */
inline leg_flush (l)
{
  if
  :: !(lossy & LEG (l)) && MUST_FLUSH (l) ->
     leg_sync_sector (l, 0);
     leg_sync_sector (l, 1);
#if SECTORS == 3
     leg_sync_sector (l, 2)
#endif
  :: else
  fi
}

/* ---- legs that fail (leg.c) ---- */

/* The last one stays; if both fail at once, the source. */
inline legs_fail (bad)
{
  if
  :: in_sync == BOTH && bad == BOTH -> in_sync = LEG (0); failed = 1
  :: in_sync == BOTH && bad != BOTH && bad != 0 ->
     in_sync = in_sync & ~bad;
     failed = 1
  :: else
  fi
}

/* Is one of them the last leg, which had to stay? */
#define STAYED(bad) ((in_sync & (bad)) != 0)

/* ---- power: start and crash ---- */

/* legs: those in sync. */
inline assemble (legs)
{
  in_sync = legs;
  known = (in_sync == BOTH && events[1] > events[0] -> events[1]
                                                    : events[SOURCE]);
  tried = known;
  going = (in_sync == BOTH -> !(NOT_CLEAN) : clean[SOURCE]);
  table = going;
  activity = (going -> CLEAN : ACTIVE);
  set = (in_sync & 1 -> pages[0] : 0) | (in_sync & 2 -> pages[1] : 0);
  durable = set;
  needed = (going -> 0 : set);
  dirty = in_sync == BOTH && pages[0] != pages[1];
  if
  :: in_sync != BOTH ->
     failed = 1;
#ifdef START_2
     margin = 2
#else
     margin = 3
#endif
  :: else ->
     margin = 2;
     wanted = events[0] != events[1] || clean[0] != clean[1]
  fi;
  assemble_sector (0);
  assemble_sector (1);
#if SECTORS == 3
  assemble_sector (2);
#endif
  state = STARTING
}

/* What the clients may expect of it. */
inline assemble_sector (s)
{
  answered[s] = now[AT (SOURCE, s)];
  if
  :: in_sync == BOTH && now[AT (1, s)] < now[AT (0, s)] ->
     answered[s] = now[AT (1, s)]
  :: else
  fi;
  if
  :: forced && in_sync != BOTH && answered[s] < flushed[s] ->
     flushed[s] = answered[s]
  :: else
  fi
}

/* All that is in memory. */
inline forget ()
{
  state = DOWN; in_sync = 0; failed = 0; margin = 0; known = 0; tried = 0;
  going = 0; table = 0; wanted = 0; activity = 0;
  set = 0; durable = 0; led = 0; needed = 0; chosen = 0; dirty = 0;
  wpc[0] = 0; wsector[0] = 0; wnumber[0] = 0;
  wsent[0] = 0; wtodo[0] = 0; wbad[0] = 0;
#if WRITERS == 2
  wpc[1] = 0; wsector[1] = 0; wnumber[1] = 0;
  wsent[1] = 0; wtodo[1] = 0; wbad[1] = 0;
#endif
#ifdef OTHERS_BIT
  wmine[0] = 0; wmine[1] = 0;
#endif
#ifdef FUA
  wfua[0] = 0;
#if WRITERS == 2
  wfua[1] = 0;
#endif
#endif
  fpc = 0; fsent = 0; ftodo = 0; fbad = 0;
  fsaw[0] = 0; fsaw[1] = 0;
#if SECTORS == 3
  fsaw[2] = 0;
#endif
  cpc = 0; ctodo = 0; cbad = 0;
  rpc = 0; rtodo = 0; rbad = 0; image = 0;
  mpc = 0; mlegs = 0; mnext = 0; mclean = 0; mfailed = 0; mserves = 0;
  spc = 0; ssector = 0; snumber = 0; sdone = 0;
  answered[0] = 0; answered[1] = 0;
#if SECTORS == 3
  answered[2] = 0;
#endif
#ifdef SKIP_FLUSH
  busy = 0;
#endif
  rebase_events ()
}

byte base;

/* Only differences of events count: take off what both have. */
inline rebase_events ()
{
  if
  :: events[0] <= events[1] -> base = events[0]
  :: else -> base = events[1]
  fi;
  events[0] = events[0] - base;
  events[1] = events[1] - base;
  if
  :: known >= base -> known = known - base
  :: else -> known = 0
  fi;
  if
  :: tried >= base -> tried = tried - base
  :: else -> tried = 0
  fi;
  base = 0
}

/* One of the numbers that the sector may have. */
inline lose (l, s)
{
  if
  :: may[AT (l, s)] & 1 -> now[AT (l, s)] = 0
  :: may[AT (l, s)] & 2 -> now[AT (l, s)] = 1
#if WRITES >= 2
  :: may[AT (l, s)] & 4 -> now[AT (l, s)] = 2
#endif
#if WRITES >= 3
  :: may[AT (l, s)] & 8 -> now[AT (l, s)] = 3
#endif
#if WRITES >= 4
  :: may[AT (l, s)] & 16 -> now[AT (l, s)] = 4
#endif
  fi;
  may[AT (l, s)] = 1 << now[AT (l, s)]
}

#if WRITES >= 5
#error give lose more numbers
#endif

#if SECTORS == 3
#define LOSE(l) lose (l, 0); lose (l, 1); lose (l, 2)
#else
#define LOSE(l) lose (l, 0); lose (l, 1)
#endif

/* If only the server ends, the legs keep their caches.  But one whose flush
 * has failed is taken to be lost at once: else the next server might read
 * from it what is not on the medium and cannot be flushed any more, find the
 * legs equal, and clear the bit.
 */
#ifdef KILL_LOSSY
#define LOST_ANYWAY(l) 0
#else
#define LOST_ANYWAY(l) (lossy & LEG (l))
#endif

/* ---- writers (write.c, chunks.c) ---- */

/* The first processes that there are. */
#define w _pid

#ifdef NO_RANGE
#define FREE(s) (!WRITTEN (s))
#else
#define FREE(s) (!WRITTEN (s) && (spc == S_IDLE || ssector != (s)))
#endif

/* Writers are alike: the first that is idle begins. */
#define MAY_BEGIN(s)                                         \
  (state == ACTIVATED && writes_left > 0 && wpc[w] == W_IDLE      \
   && (w == 0 || wpc[0] != W_IDLE) && FREE (s))

inline begin (s)
{
  writes_left--;
  number[s]++;
  wpc[w] = W_START;
  wsector[w] = s;
  wnumber[w] = number[s];
  printf ("writer %d: number %d to sector %d\n", w, number[s], s)
}

inline startwrite ()
{
#ifdef OTHERS_BIT
  wmine[w] = !(set & BIT (wsector[w]));
#endif
  if
  :: !(set & BIT (wsector[w])) ->
     set = set | BIT (wsector[w]);
     dirty = 1
  :: else
  fi;
#ifndef CLEAR_TOUCHED
  chosen = chosen & ~BIT (wsector[w]);
#endif
  wpc[w] = W_BITS
}

#if defined (DATA_FIRST)
#define BITS_ARE_DURABLE 1
#elif defined (OTHERS_BIT)
#define BITS_ARE_DURABLE ((durable & BIT (wsector[w])) || !wmine[w])
#else
#define BITS_ARE_DURABLE (durable & BIT (wsector[w]))
#endif

#ifdef ANSWER_FIRST
#define SETTLED 1
#else
#define SETTLED (!failed)
#endif

#ifdef ACTIVE_LATE
#define MAY_START (activity == ACTIVE || activity == GOING_ACTIVE)
#elif defined (CLEAN_RACE)
#define MAY_START (activity == ACTIVE || activity == GOING_CLEAN)
#else
#define MAY_START (activity == ACTIVE)
#endif

/* One leg's write has ended; if all went well there is nothing to judge. */
inline sent_one (l)
{
  wtodo[w] = wtodo[w] & ~LEG (l);
  if
  :: wtodo[w] == 0 && wbad[w] == 0 -> wpc[w] = W_SETTLE
  :: else
  fi
}

inline writer_end (v)
{
  wpc[v] = W_IDLE; wsector[v] = 0; wnumber[v] = 0;
  wsent[v] = 0; wtodo[v] = 0; wbad[v] = 0;
#ifdef OTHERS_BIT
  wmine[v] = 0;
#endif
#ifdef FUA
  wfua[v] = 0
#endif
}

/* The legs may be unequal. */
inline writer_unequal (v)
{
  needed = needed | BIT (wsector[v]);
  chosen = chosen & ~BIT (wsector[v])
}

inline answer ()
{
  if
  :: (in_sync & wsent[w] & ~wbad[w]) != 0 && !STAYED (wbad[w]) ->
     printf ("writer %d: sector %d: good\n", w, wsector[w]);
     answered[wsector[w]] = wnumber[w];
     missed = missed | (BOTH & ~(wsent[w] & ~wbad[w]));
#ifdef FUA
     if
     :: wfua[w] -> flushed[wsector[w]] = wnumber[w]
     :: else
     fi
#endif
  :: else ->
     printf ("writer %d: sector %d: EIO\n", w, wsector[w]);
     writer_unequal (w)
  fi;
  writer_end (w)
}

#ifdef FUA
#define STORE(l)                                  \
  leg_write (l, wsector[w], wnumber[w]);          \
  if                                              \
  :: wfua[w] -> leg_sync_sector (l, wsector[w])   \
  :: else                                         \
  fi
#else
#define STORE(l) leg_write (l, wsector[w], wnumber[w])
#endif

#define MAY_SEND(l) (wpc[w] == W_SEND && (wtodo[w] & LEG (l)))

active [WRITERS] proctype writer ()
{
end:
  do
  :: d_step { MAY_BEGIN (0) -> begin (0) }
  :: d_step { MAY_BEGIN (1) -> begin (1) }
#if SECTORS == 3
  :: d_step { MAY_BEGIN (2) -> begin (2) }
#endif
#ifdef FUA
  :: d_step { MAY_BEGIN (0) -> begin (0); wfua[w] = 1 }
  :: d_step { MAY_BEGIN (1) -> begin (1); wfua[w] = 1 }
#if SECTORS == 3
  :: d_step { MAY_BEGIN (2) -> begin (2); wfua[w] = 1 }
#endif
#endif
  :: d_step { wpc[w] == W_START && activity == CLEAN ->
       activity = GOING_ACTIVE;
       going = 0;
       wanted = 1
     }
  :: d_step { wpc[w] == W_START && MAY_START -> startwrite () }
  :: d_step { wpc[w] == W_BITS && BITS_ARE_DURABLE ->
       wpc[w] = W_SEND;
       wsent[w] = in_sync;
       wtodo[w] = in_sync
     }
  :: d_step { MAY_SEND (0) ->
       printf ("leg 0: data, sector %d\n", wsector[w]);
       STORE (0);
       sent_one (0)
     }
  :: d_step { MAY_SEND (1) ->
       printf ("leg 1: data, sector %d\n", wsector[w]);
       STORE (1);
       sent_one (1)
     }
#if ERRORS > 0
  :: d_step { MAY_SEND (0) && errors_left > 0 ->
       printf ("leg 0: data, sector %d: fails\n", wsector[w]);
       errors_left--;
       wbad[w] = wbad[w] | 1;
       sent_one (0)
     }
  :: d_step { MAY_SEND (1) && errors_left > 0 ->
       printf ("leg 1: data, sector %d: fails\n", wsector[w]);
       errors_left--;
       wbad[w] = wbad[w] | 2;
       sent_one (1)
     }
  :: d_step { MAY_SEND (0) && errors_left > 0 ->
       printf ("leg 0: data, sector %d: fails, yet happens\n", wsector[w]);
       errors_left--;
       leg_write (0, wsector[w], wnumber[w]);
       wbad[w] = wbad[w] | 1;
       sent_one (0)
     }
  :: d_step { MAY_SEND (1) && errors_left > 0 ->
       printf ("leg 1: data, sector %d: fails, yet happens\n", wsector[w]);
       errors_left--;
       leg_write (1, wsector[w], wnumber[w]);
       wbad[w] = wbad[w] | 2;
       sent_one (1)
     }
#endif
  :: d_step { wpc[w] == W_SEND && wtodo[w] == 0 ->
       legs_fail (wbad[w]);
       wpc[w] = W_SETTLE
     }
  :: d_step { wpc[w] == W_SETTLE && SETTLED -> answer () }
  od
}

#undef w

/* ---- a client's flush (flush.c) ---- */

inline flush_end ()
{
  fpc = F_IDLE; fsent = 0; ftodo = 0; fbad = 0;
  fsaw[0] = 0; fsaw[1] = 0;
#if SECTORS == 3
  fsaw[2] = 0
#endif
}

inline flush_keeps (s)
{
  if
  :: fsaw[s] > flushed[s] -> flushed[s] = fsaw[s]
  :: else
  fi
}

/* Flushes go one after the other: what one has found out about a leg must be
 * known before the next one asks that leg again.
 */
#ifdef FLUSH_TWICE
#define FLUSH_IS_FREE 1
#else
#define FLUSH_IS_FREE (fpc != F_FLUSH && cpc != C_FLUSH && cpc != C_CLEAN)
#endif

/* A flush that fails: md looks away. */
#ifdef MD_FLUSH
#define NOTICE(bad, l) skip
#else
#define NOTICE(bad, l) bad = bad | LEG (l)
#endif

inline flushed_one (l)
{
  ftodo = ftodo & ~LEG (l);
  if
  :: ftodo == 0 && fbad == 0 -> fpc = F_SETTLE
  :: else
  fi
}

active proctype client_flush ()
{
end:
  do
  :: d_step { (state == ACTIVATED && fpc == F_IDLE && flushes_left > 0
               && FLUSH_IS_FREE && !(lossy & in_sync)) ->
       printf ("flush\n");
       flushes_left--;
       fpc = F_FLUSH;
       fsent = in_sync;
       ftodo = in_sync;
       fsaw[0] = answered[0];
       fsaw[1] = answered[1];
#if SECTORS == 3
       fsaw[2] = answered[2]
#endif
     }
  :: d_step { fpc == F_FLUSH && (ftodo & 1) ->
       printf ("leg 0: flush\n");
       leg_flush (0);
       flushed_one (0)
     }
  :: d_step { fpc == F_FLUSH && (ftodo & 2) ->
       printf ("leg 1: flush\n");
       leg_flush (1);
       flushed_one (1)
     }
#if ERRORS > 0
  :: d_step { fpc == F_FLUSH && (ftodo & 1) && errors_left > 0 ->
       printf ("leg 0: flush: fails\n");
       errors_left--;
       lossy = lossy | 1;
       NOTICE (fbad, 0);
       flushed_one (0)
     }
  :: d_step { fpc == F_FLUSH && (ftodo & 2) && errors_left > 0 ->
       printf ("leg 1: flush: fails\n");
       errors_left--;
       lossy = lossy | 2;
       NOTICE (fbad, 1);
       flushed_one (1)
     }
#endif
  :: d_step { fpc == F_FLUSH && ftodo == 0 ->
       legs_fail (fbad);
       if
       :: STAYED (fbad) ->
          printf ("flush: EIO\n");
          flush_end ()
       :: else -> fpc = F_SETTLE
       fi
     }
  :: d_step { fpc == F_SETTLE && SETTLED ->
       printf ("flush: good\n");
       missed = missed | (BOTH & ~(fsent & ~fbad));
       flush_keeps (0);
       flush_keeps (1);
#if SECTORS == 3
       flush_keeps (2);
#endif
       flush_end ()
     }
  od
}

/* ---- rounds of the bitmap (bitmap/flush.c, store_legs.c) ---- */

#ifdef MD_CLEAR
#define PREFLUSH(l) leg_flush (l)
#else
#define PREFLUSH(l) skip
#endif

#ifdef ONE_COPY
#define COPIES LEG (SOURCE)
#else
#define COPIES in_sync
#endif

/* I4 at the medium: nothing is on its way where a bit goes out cleared. */
#define LANDS_WELL(l) ((pages[l] & ~image & SENDING_BITS) == 0)

inline write_page (l)
{
  BUSY (l);
  PREFLUSH (l);
  pages[l] = image;
  rtodo = rtodo & ~LEG (l)
}

#define SOME_OF(l, bits) ((pages[l] & ~(bits)) | (image & (bits)))

inline round_end ()
{
  rpc = R_IDLE; rtodo = 0; rbad = 0; image = 0; led = 0
}

/* The chunks of the round wait again, their writers fail. */
inline round_fails ()
{
  printf ("round: EIO\n");
  writer_fails_in_round (0);
#if WRITERS == 2
  writer_fails_in_round (1);
#endif
#ifndef NO_RETRY
  dirty = 1;
#endif
  round_end ()
}

inline writer_fails_in_round (v)
{
  if
  :: wpc[v] == W_BITS && (BIT (wsector[v]) & led) ->
     printf ("writer %d: sector %d: EIO\n", v, wsector[v]);
     writer_end (v)
  :: else
  fi
}

#ifdef PUBLISH_FIRST
#define ROUND_SETTLED 1
#else
#define ROUND_SETTLED (!failed)
#endif

active proctype bitmap_round ()
{
end:
  do
  :: d_step { state != DOWN && state != BROKEN && rpc == R_IDLE && dirty ->
       rpc = R_WRITE;
       image = set;
       led = set & ~durable;
       dirty = 0;
       rtodo = COPIES
     }
  :: d_step { rpc == R_WRITE && (rtodo & 1) ->
       printf ("leg 0: bitmap %d\n", image);
       if
       :: CHECKED (4) -> assert (LANDS_WELL (0) || I4)
       :: else
       fi;
       write_page (0)
     }
  :: d_step { rpc == R_WRITE && (rtodo & 2) ->
       printf ("leg 1: bitmap %d\n", image);
       if
       :: CHECKED (4) -> assert (LANDS_WELL (1) || I4)
       :: else
       fi;
       write_page (1)
     }
#ifdef TORN
  /* The bits of the chunks lie in two sectors, and one is written. */
  :: d_step { rpc == R_WRITE && (rtodo & 1) -> pages[0] = SOME_OF (0, 1) }
  :: d_step { rpc == R_WRITE && (rtodo & 1) -> pages[0] = SOME_OF (0, 2) }
  :: d_step { rpc == R_WRITE && (rtodo & 2) -> pages[1] = SOME_OF (1, 1) }
  :: d_step { rpc == R_WRITE && (rtodo & 2) -> pages[1] = SOME_OF (1, 2) }
#endif
#if ERRORS > 0
  :: d_step { rpc == R_WRITE && (rtodo & 1) && errors_left > 0 ->
       printf ("leg 0: bitmap %d: fails\n", image);
       errors_left--;
       rtodo = rtodo & ~1;
       rbad = rbad | 1
     }
  :: d_step { rpc == R_WRITE && (rtodo & 2) && errors_left > 0 ->
       printf ("leg 1: bitmap %d: fails\n", image);
       errors_left--;
       rtodo = rtodo & ~2;
       rbad = rbad | 2
     }
  :: d_step { rpc == R_WRITE && (rtodo & 1) && errors_left > 0 ->
       printf ("leg 0: bitmap %d: fails, yet happens\n", image);
       errors_left--;
       write_page (0);
       rbad = rbad | 1
     }
  :: d_step { rpc == R_WRITE && (rtodo & 2) && errors_left > 0 ->
       printf ("leg 1: bitmap %d: fails, yet happens\n", image);
       errors_left--;
       write_page (1);
       rbad = rbad | 2
     }
#endif
  :: d_step { rpc == R_WRITE && rtodo == 0 ->
       legs_fail (rbad);
       if
       :: STAYED (rbad) -> round_fails ()
       :: else -> rpc = R_SETTLE
       fi
     }
  :: d_step { rpc == R_SETTLE && ROUND_SETTLED ->
       durable = durable | led;
       round_end ()
     }
  od
}

/* ---- updates of the superblocks (events.c) ---- */

inline resync_end ()
{
  spc = S_IDLE; ssector = 0; snumber = 0; sdone = 0
}

/* Whoever waits for a record when it fails. */
inline update_fails ()
{
  printf ("update: EIO\n");
  mpc = M_IDLE;
  writer_unrecorded (0);
#if WRITERS == 2
  writer_unrecorded (1);
#endif
  if
  :: fpc == F_SETTLE -> flush_end ()
  :: else
  fi;
  if
  :: rpc == R_SETTLE && failed -> round_fails ()
  :: else
  fi;
  if
  :: spc == S_SETTLE -> resync_end ()
  :: else
  fi;
  if
  :: cpc == C_SETTLE -> activity = ACTIVE; cpc = C_IDLE
  :: cpc == C_UPDATE && mserves -> activity = CLEAN; cpc = C_IDLE
  :: else
  fi;
  if
  :: activity == GOING_ACTIVE && mserves -> activity = CLEAN
  :: else
  fi;
  if
  :: state == STARTING -> state = BROKEN
  :: else
  fi;
  update_forget ()
}

inline writer_unrecorded (v)
{
  if
  :: wpc[v] == W_SETTLE ->
     writer_unequal (v);
     writer_end (v)
  :: wpc[v] == W_START && activity == GOING_ACTIVE && mserves ->
     writer_end (v)
  :: else
  fi
}

inline update_forget ()
{
  mpc = M_IDLE; mlegs = 0; mnext = 0; mclean = 0; mfailed = 0; mserves = 0
}

#ifdef EVENTS_1
#define MARGIN 1
#else
#define MARGIN margin
#endif
#ifdef WAVES_1
#define RECORD (known + MARGIN)
#else
#define RECORD (tried + MARGIN)
#endif
#define NEWEST (tried > known -> tried : known)

inline plan ()
{
  mnext = (mlegs == BOTH -> known + 1
                         : (mfailed -> RECORD : NEWEST + 1));
  tried = (mnext > tried -> mnext : tried);
  mpc = (mlegs == BOTH -> M_FIRST : M_SOURCE)
}

#ifdef NO_BEHIND
#define LAGGARD 0
#else
#define LAGGARD (events[0] < known || events[1] < known)
#endif

inline attempt ()
{
  mlegs = in_sync;
  mfailed = failed;
  mclean = going;
  if
  :: mlegs == BOTH && LAGGARD -> mpc = M_BEHIND
  :: else -> plan ()
  fi
}

inline superblock (l, e, c)
{
  BUSY (l);
  events[l] = e;
  clean[l] = c;
  calls[l] = (mlegs & LEG (OTHER (l))) == 0;
  printf ("leg %d: superblock, %d, clean %d, calls the other faulty %d\n", l,
          events[l], clean[l], calls[l])
}

inline behind_end ()
{
  if
  :: in_sync != mlegs -> attempt ()
  :: else -> plan ()
  fi
}

inline first_end ()
{
  if
  :: in_sync != mlegs -> attempt ()
  :: else -> mpc = M_SOURCE
  fi
}

inline update_end ()
{
  if
  :: in_sync != mlegs -> attempt ()
  :: else ->
     known = mnext;
     failed = (mfailed -> 0 : failed);
     margin = 2;
     table = mclean;
     if
     :: mserves && activity == GOING_ACTIVE -> activity = ACTIVE
     :: mserves && cpc == C_UPDATE -> activity = CLEAN; cpc = C_IDLE
     :: else
     fi;
     update_forget ();
     rebase_events ()
  fi
}

inline update_leg_fails (l)
{
  if
  :: in_sync == LEG (l) -> update_fails ()
  :: else -> legs_fail (LEG (l)); attempt ()
  fi
}

#define LATE    (events[0] < known -> 0 : 1)
#define PRIMARY (mlegs & 1 -> 0 : 1)

active proctype metadata ()
{
end:
  do
  :: d_step { ((state == ACTIVATED
                || (state == STARTING
                    && ((!dirty && rpc == R_IDLE) || rpc == R_SETTLE)))
               && mpc == M_IDLE && (failed || wanted)) ->
       mserves = wanted;
       wanted = 0;
       attempt ()
     }
  :: d_step { mpc == M_BEHIND ->
       superblock (LATE, known, table);
       behind_end ()
     }
  :: d_step { mpc == M_FIRST -> superblock (1, mnext, mclean); first_end () }
  :: d_step { mpc == M_SOURCE ->
       superblock (PRIMARY, mnext, mclean);
       update_end ()
     }
#if ERRORS > 0
  :: d_step { mpc == M_BEHIND && errors_left > 0 ->
       printf ("leg %d: superblock: fails\n", LATE);
       errors_left--;
       update_leg_fails (LATE)
     }
  :: d_step { mpc == M_FIRST && errors_left > 0 ->
       printf ("leg 1: superblock: fails\n");
       errors_left--;
       update_leg_fails (1)
     }
  :: d_step { mpc == M_FIRST && errors_left > 0 ->
       printf ("leg 1: superblock: fails, yet happens\n");
       errors_left--;
       superblock (1, mnext, mclean);
       update_leg_fails (1)
     }
  :: d_step { mpc == M_SOURCE && errors_left > 0 ->
       printf ("leg %d: superblock: fails\n", PRIMARY);
       errors_left--;
       update_leg_fails (PRIMARY)
     }
  :: d_step { mpc == M_SOURCE && errors_left > 0 ->
       printf ("leg %d: superblock: fails, yet happens\n", PRIMARY);
       errors_left--;
       superblock (PRIMARY, mnext, mclean);
       update_leg_fails (PRIMARY)
     }
#endif
  od
}

/* ---- lazy clear, and clean (clear.c, background.c) ---- */

#ifdef CLEAR_DEGRADED
#define WHOLE (in_sync != 0)
#else
#define WHOLE (in_sync == BOTH)
#endif

#define ELIGIBLE (durable & ~needed & ~WRITERS_BITS)

inline clear_apply ()
{
  printf ("clear %d\n", chosen);
  if
  :: CHECKED (4) ->
     assert (in_sync == BOTH || I4);
     assert ((chosen & WRITERS_BITS) == 0 || I4);
     assert (!(chosen & BIT (0)) || EQUAL (0) || I4);
     assert (!(chosen & BIT (1)) || EQUAL (1) || I4);
     assert (!(chosen & BIT (SECTORS - 1)) || EQUAL (SECTORS - 1) || I4)
  :: else
  fi;
  set = set & ~chosen;
  durable = durable & ~chosen;
  dirty = 1;
  chosen = 0
}

inline clear_end ()
{
  cpc = C_IDLE; ctodo = 0; cbad = 0; chosen = 0
}

active proctype clear ()
{
end:
  do
  :: d_step { (state == ACTIVATED && cpc == C_IDLE && FLUSH_IS_FREE && WHOLE
               && ELIGIBLE != 0) ->
       chosen = ELIGIBLE;
#ifdef MD_CLEAR
       clear_apply ()
#else
       cpc = C_FLUSH;
       ctodo = in_sync;
#ifdef CLEAR_EARLY
       set = set & ~chosen;
       durable = durable & ~chosen
#endif
#endif
     }
  :: d_step { (cpc == C_FLUSH || cpc == C_CLEAN) && (ctodo & 1) ->
       printf ("clear: leg 0: flush\n");
       leg_flush (0);
       ctodo = ctodo & ~1
     }
  :: d_step { (cpc == C_FLUSH || cpc == C_CLEAN) && (ctodo & 2) ->
       printf ("clear: leg 1: flush\n");
       leg_flush (1);
       ctodo = ctodo & ~2
     }
#if ERRORS > 0
  :: d_step { ((cpc == C_FLUSH || cpc == C_CLEAN) && (ctodo & 1)
               && errors_left > 0) ->
       printf ("clear: leg 0: flush: fails\n");
       errors_left--;
       lossy = lossy | 1;
       ctodo = ctodo & ~1;
       NOTICE (cbad, 0)
     }
  :: d_step { ((cpc == C_FLUSH || cpc == C_CLEAN) && (ctodo & 2)
               && errors_left > 0) ->
       printf ("clear: leg 1: flush: fails\n");
       errors_left--;
       lossy = lossy | 2;
       ctodo = ctodo & ~2;
       NOTICE (cbad, 1)
     }
#endif
  :: d_step { cpc == C_FLUSH && ctodo == 0 ->
       legs_fail (cbad);
       if
       :: cbad == 0 && WHOLE && chosen != 0 -> clear_apply ()
       :: else
       fi;
       clear_end ()
     }
  :: d_step { (state == ACTIVATED && cpc == C_IDLE && activity == ACTIVE
               && NO_WRITERS && set == 0 && !dirty && rpc == R_IDLE
               && FLUSH_IS_FREE && !(lossy & in_sync)) ->
       printf ("going clean\n");
       activity = GOING_CLEAN;
       cpc = C_CLEAN;
       ctodo = in_sync
     }
  :: d_step { cpc == C_CLEAN && ctodo == 0 ->
       legs_fail (cbad);
       if
       :: STAYED (cbad) ->
          activity = ACTIVE;
          clear_end ()
       :: else ->
          cbad = 0;
          cpc = C_SETTLE
       fi
     }
  :: d_step { cpc == C_SETTLE && !failed ->
       going = 1;
       wanted = 1;
       cpc = C_UPDATE
     }
  od
}

/* ---- resync (resync.c) ---- */

/* The first sector of the first chunk that needs it. */
#define NEXT_BIT    (needed & 1 -> 1 : 2)
#define TODO        (SECTORS_OF (NEXT_BIT) & ~sdone)
#define NEXT_SECTOR (TODO & 1 -> 0 : (TODO & 2 -> 1 : 2))

inline synced (s)
{
  answered[s] = now[AT (SOURCE, s)];
  sdone = sdone | (1 << (s));
  spc = S_IDLE;
  ssector = 0;
  snumber = 0;
  if
  :: TODO == 0 ->
     printf ("resync: chunk of bit %d is equal\n", NEXT_BIT);
     sdone = 0;
#ifdef CLEAR_SYNCED
     set = set & ~NEXT_BIT;
     durable = durable & ~NEXT_BIT;
     dirty = 1;
#endif
     needed = needed & ~NEXT_BIT
  :: else
  fi
}

active proctype resync ()
{
end:
  do
  :: d_step { (state == ACTIVATED && spc == S_IDLE && in_sync == BOTH
               && needed != 0 && FREE (NEXT_SECTOR)) ->
       ssector = NEXT_SECTOR;
       if
       :: now[AT (0, ssector)] == now[AT (1, ssector)] -> synced (ssector)
       :: else ->
          snumber = now[AT (0, ssector)];
          spc = S_SEND
       fi
     }
  :: d_step { spc == S_SEND ->
       printf ("leg 1: resync, number %d to sector %d\n", snumber, ssector);
       leg_write (1, ssector, snumber);
       spc = S_SETTLE
     }
#if ERRORS > 0
  :: d_step { spc == S_SEND && errors_left > 0 ->
       printf ("leg 1: resync of sector %d: fails\n", ssector);
       errors_left--;
       legs_fail (LEG (1));
       spc = S_SETTLE
     }
  :: d_step { spc == S_SEND && errors_left > 0 ->
       printf ("leg 1: resync of sector %d: fails, yet happens\n", ssector);
       errors_left--;
       leg_write (1, ssector, snumber);
       legs_fail (LEG (1));
       spc = S_SETTLE
     }
#endif
  :: d_step { spc == S_SETTLE && !failed ->
       if
       :: in_sync == BOTH -> synced (ssector)
       :: else -> resync_end ()
       fi
     }
  od
}

/* ---- power ---- */

active proctype power ()
{
end:
  do
  :: d_step { state == DOWN && PAIR != 0 ->
       printf ("start with both legs\n");
       assemble (PAIR)
     }
  :: d_step { state == DOWN && ALONE (0) ->
       printf ("start with leg 0 alone\n");
       assemble (LEG (0))
     }
  :: d_step { state == DOWN && ALONE (1) ->
       printf ("start with leg 1 alone\n");
       assemble (LEG (1))
     }
#if FORCES > 0
  :: d_step { state == DOWN && forces_left > 0 ->
       printf ("start with leg 0 by force\n");
       forces_left--;
       forced = 1;
       assemble (LEG (0))
     }
  :: d_step { state == DOWN && forces_left > 0 ->
       printf ("start with leg 1 by force\n");
       forces_left--;
       forced = 1;
       assemble (LEG (1))
     }
#endif
  :: d_step { (state == STARTING && !dirty && rpc == R_IDLE && !failed
               && !wanted && mpc == M_IDLE) ->
       printf ("activated\n");
       state = ACTIVATED
     }
  :: atomic { state != DOWN && crashes_left > 0 ->
       crashes_left--;
       LOSE (0);
       LOSE (1);
       d_step {
         printf ("crash; leg 0: %d %d, leg 1: %d %d\n", now[AT (0, 0)],
                 now[AT (0, 1)], now[AT (1, 0)], now[AT (1, 1)]);
         lossy = 0;
         forget ()
       }
     }
  :: atomic { state != DOWN && crashes_left > 0 ->
       crashes_left--;
#if ERRORS > 0
       if
       :: LOST_ANYWAY (0) -> LOSE (0)
       :: else
       fi;
       if
       :: LOST_ANYWAY (1) -> LOSE (1)
       :: else
       fi;
#endif
       d_step {
         printf ("kill; leg 0: %d %d, leg 1: %d %d\n", now[AT (0, 0)],
                 now[AT (0, 1)], now[AT (1, 0)], now[AT (1, 1)]);
#ifndef KILL_LOSSY
         lossy = 0;
#endif
         forget ()
       }
     }
  od
}

/* ---- the monitor ---- */

/* Looks at every state, and moves only where one is broken. */
active proctype monitor ()
{
end:
  do
  :: CHECKED (1) && !(I1_HOLDS) -> assert (I1)
  :: CHECKED (2) && !(I2_HOLDS) -> assert (I2)
  :: CHECKED (3) && !(I3_HOLDS) -> assert (I3)
  :: CHECKED (31) && !(I3A_HOLDS) -> assert (I3a)
  :: CHECKED (6) && !(I6_HOLDS) -> assert (I6)
  :: CHECKED (12) && !(I12_HOLDS) -> assert (I12)
  :: CHECKED (20) && !(A_HOLDS) -> assert (A)
  :: CHECKED (21) && timeout && !(QUIET) -> assert (L)
  od
}
