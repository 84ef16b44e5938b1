package replicate

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault"
)

// States of a group's replication.
const (
	StateWaiting = "waiting" // until the next cycle is due
	StateQueued  = "queued"  // due, waiting for a free worker
	StateRunning = "running"
	StatePaused  = "paused"
	StateFailing = "failing" // the last cycle failed; it is tried again
	StateFenced  = "fenced"  // another site owns the group
)

// Status is what a person wants to know of a group's replication.
type Status struct {
	Group     string
	State     string
	KnownGood time.Time // the state of this time can be recovered; zero before the first cycle
	LastPoint string
	LastError string
	LastKind  dr.Kind // of LastError
	LastHint  string
	Last      Result // of the last successful cycle
	Progress  Progress
	NextDue   time.Time
	Failures  int // in a row
	Spool     vault.SpoolState
	// Warning says what is wrong without keeping replication from going on, such as retention that fails.
	Warning     string
	WarningHint string
}

// Work is what the scheduler needs to run a cycle of a group.
type Work struct {
	Group  dr.Group
	RPO    time.Duration
	Keep   []dr.Tier // which recovery points stay; all when empty
	Cycler *Cycler

	// AppEvery is how often a point is to be application consistent, 0 for never, and FreezeTimeout how long guests may
	// be frozen for it.
	AppEvery      time.Duration
	FreezeTimeout time.Duration
}

// SchedulerConfig configures a Scheduler.
type SchedulerConfig struct {
	// Holder names this controller in leases; the same after a restart.
	Holder string
	// Workers is how many cycles run at once; 0 means 4.
	Workers int
	// Compactors is how many groups' recovery points are thinned out at once, beside the cycles; 0 means 1.
	Compactors int
	// Load returns what is needed to run a group's next cycle. It is called before each, so that changes take hold.
	Load func(ctx context.Context, group string) (Work, error)
	// OnStatus, when set, is told each change of a group's status, from any goroutine, and must not block.
	OnStatus func(Status)
	// OnCycle, when set, is told of each cycle that ended by itself, from any goroutine, and must not block.
	OnCycle func(CycleEnd)
	Now     func() time.Time
	Logger  *slog.Logger
}

// A CycleEnd is how a cycle ended.
type CycleEnd struct {
	Group     string
	Ended     time.Time
	KnownGood time.Time // before the cycle; zero when none succeeded since the start
	Result    Result
	Err       error
}

// A Scheduler runs the cycles of many groups. A group never has two cycles at once. Cycles are started so that the
// newest recovery point stays younger than the objective: see interval. One that takes more than half of the objective
// is followed by the next at once (its source is then the limit, and the lag shows it). Beside the cycles it lets go of
// the recovery points that the group's policy does not keep.
type Scheduler struct {
	cfg   SchedulerConfig
	mu    sync.Mutex
	jobs  map[string]*job
	due   dueHeap
	wake  chan struct{}
	slots chan struct{}
	wg    sync.WaitGroup

	compactions []*job // that wait for their turn
	compacting  int    // under way
}

// job is one group. Its fields are guarded by the scheduler's lock.
type job struct {
	name    string
	status  Status
	paused  bool
	removed bool
	index   int // in the heap; -1 when not waiting
	cancel  context.CancelFunc
	idle    chan struct{} // closed when no cycle runs
	waiters []chan outcome
	next    []chan outcome // waiters for the cycle after the one that runs

	retention retention
	freezing  freezing
	spooling  warning

	leasing sync.Mutex // guards lease, also while it is renewed; taken before no other lock
	lease   *vault.Lease
}

type outcome struct {
	res Result
	err error
}

// NewScheduler returns a scheduler without groups. Run starts it.
func NewScheduler(cfg SchedulerConfig) *Scheduler {
	if cfg.Workers == 0 {
		cfg.Workers = 4
	}
	if cfg.Compactors == 0 {
		cfg.Compactors = 1
	}
	return &Scheduler{
		cfg: cfg, jobs: map[string]*job{}, wake: make(chan struct{}, 1), slots: make(chan struct{}, cfg.Workers),
	}
}

// Add puts a group under the scheduler's care; its first cycle is due at once. A group known already is left alone.
func (s *Scheduler) Add(group string, paused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.jobs[group]; ok {
		return
	}
	idle := make(chan struct{})
	close(idle)
	j := &job{name: group, paused: paused, index: -1, idle: idle}
	j.status = Status{Group: group, State: StateWaiting, NextDue: s.cfg.Now()}
	j.retention.since = s.cfg.Now()
	s.jobs[group] = j
	if paused {
		j.status.State = StatePaused
		return
	}
	s.enqueue(j)
}

// Remove ends the care for a group and waits until nothing of it runs.
func (s *Scheduler) Remove(ctx context.Context, group string) error {
	if err := s.Pause(ctx, group); err != nil {
		return err
	}
	s.mu.Lock()
	j := s.jobs[group]
	delete(s.jobs, group)
	j.removed = true
	s.mu.Unlock()
	return s.release(ctx, j)
}

// Pause stops replication of a group: what runs is given up, and nothing starts until Resume.
func (s *Scheduler) Pause(ctx context.Context, group string) error {
	s.mu.Lock()
	j, err := s.job(group)
	if err != nil {
		s.mu.Unlock()
		return err
	}
	j.paused = true
	s.dequeue(j)
	if j.cancel != nil {
		j.cancel()
	}
	if j.cancel == nil {
		s.setState(j, StatePaused)
	}
	ends := []chan struct{}{j.idle}
	if j.retention.cancel != nil {
		j.retention.cancel()
		ends = append(ends, j.retention.done)
	}
	s.mu.Unlock()
	for _, end := range ends {
		select {
		case <-end:
		case <-ctx.Done():
			return fmt.Errorf("pause %s: %w", group, ctx.Err())
		}
	}
	return nil
}

// Resume goes on with a paused group; a cycle is due at once.
func (s *Scheduler) Resume(group string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	j, err := s.job(group)
	if err != nil {
		return err
	}
	if !j.paused {
		return nil
	}
	j.paused = false
	if j.cancel == nil {
		j.status.NextDue = s.cfg.Now()
		s.setState(j, StateWaiting)
		s.enqueue(j)
	}
	return nil
}

// SyncNow runs a cycle that begins after the call, also of a paused group, and returns what it did.
func (s *Scheduler) SyncNow(ctx context.Context, group string) (Result, error) {
	return s.syncNow(ctx, group, false)
}

// SyncConsistent is SyncNow for a point that is consistent for file systems, or for applications where there are hooks.
// When that cannot be had the result's Shortfall says why.
func (s *Scheduler) SyncConsistent(ctx context.Context, group string) (Result, error) {
	return s.syncNow(ctx, group, true)
}

func (s *Scheduler) syncNow(ctx context.Context, group string, freeze bool) (Result, error) {
	done := make(chan outcome, 1)
	s.mu.Lock()
	j, err := s.job(group)
	if err != nil {
		s.mu.Unlock()
		return Result{}, err
	}
	j.freezing.asked = j.freezing.asked || freeze // a cycle under way has taken note of it already
	if j.cancel != nil {
		j.next = append(j.next, done)
	} else {
		j.waiters = append(j.waiters, done)
		j.status.NextDue = s.cfg.Now()
		s.enqueue(j)
	}
	s.mu.Unlock()
	select {
	case o := <-done:
		return o.res, o.err
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
}

// Status returns the status of a group.
func (s *Scheduler) Status(group string) (Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j, err := s.job(group)
	if err != nil {
		return Status{}, err
	}
	return j.status, nil
}

func (s *Scheduler) job(group string) (*job, error) {
	j, ok := s.jobs[group]
	if !ok {
		return nil, dr.WithHint(fmt.Errorf("group %s is not replicated here", group), dr.KindNotFound, "understudy status")
	}
	return j, nil
}

// Run starts cycles and compactions as they fall due until ctx ends, then gives up those that run and waits for them.
func (s *Scheduler) Run(ctx context.Context) error {
	defer s.stop(ctx)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s.startCompactions(ctx)
		timer.Reset(s.startDue(ctx))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// startDue starts what is due while workers are free, and returns how long to wait for the next.
func (s *Scheduler) startDue(ctx context.Context) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.due) > 0 {
		j := s.due[0]
		if wait := j.status.NextDue.Sub(s.cfg.Now()); wait > 0 {
			return min(wait, time.Hour)
		}
		select {
		case s.slots <- struct{}{}:
		default:
			s.setState(j, StateQueued)
			return time.Hour // a worker that ends wakes the loop
		}
		heap.Pop(&s.due)
		cycleCtx, cancel := context.WithCancel(ctx)
		j.cancel, j.idle = cancel, make(chan struct{})
		s.setState(j, StateRunning)
		s.wg.Add(1)
		go s.runCycle(cycleCtx, j)
	}
	return time.Hour
}

func (s *Scheduler) runCycle(ctx context.Context, j *job) {
	defer s.wg.Done()
	began := s.cfg.Now()
	s.mu.Lock()
	asked := j.freezing.asked
	j.freezing.asked = false
	s.mu.Unlock()
	res, work, err := s.cycle(ctx, j, asked)
	s.mu.Lock()
	defer s.mu.Unlock()
	j.cancel()
	j.cancel = nil
	s.settle(j, began, work.RPO, res, err)
	s.spooled(j, work)
	if err == nil {
		s.made(j, work, res)
	}
	answer := err
	if answer == nil {
		answer = spooledError(j.name, res)
	}
	for _, w := range j.waiters {
		w <- outcome{res, answer}
	}
	j.waiters, j.next = j.next, nil
	if len(j.waiters) > 0 {
		j.status.NextDue = s.cfg.Now()
	}
	if !j.removed && (!j.paused || len(j.waiters) > 0) {
		s.enqueue(j)
	}
	close(j.idle)
	<-s.slots
	s.poke()
}

// settle records the outcome of a cycle and sets when the next is due.
func (s *Scheduler) settle(j *job, began time.Time, rpo time.Duration, res Result, err error) {
	st := &j.status
	st.Progress = Progress{}
	if s.cfg.OnCycle != nil && !errors.Is(err, context.Canceled) {
		s.cfg.OnCycle(CycleEnd{Group: j.name, Ended: s.cfg.Now(), KnownGood: st.KnownGood, Result: res, Err: err})
	}
	if at, point := res.KnownGood(); err == nil && !at.IsZero() {
		st.KnownGood = at
		if point != "" {
			st.LastPoint = point
		}
	} else if p := res.InVault; err != nil && p != nil && p.Time.After(st.KnownGood) {
		st.KnownGood, st.LastPoint = p.Time, p.ID
	}
	if err == nil {
		st.Failures, st.LastError, st.LastKind, st.LastHint = 0, "", "", ""
		st.Last = res
		st.NextDue = began.Add(interval(rpo, res.Took))
		s.setState(j, StateWaiting)
		return
	}
	if errors.Is(err, context.Canceled) { // paused, stopped, or the lease was lost
		st.NextDue = s.cfg.Now().Add(time.Second)
		s.setState(j, StateWaiting)
		return
	}
	st.Failures++
	st.LastError, st.LastKind, st.LastHint = err.Error(), dr.KindOf(err), dr.Hint(err)
	st.NextDue = s.cfg.Now().Add(retryAfter(st.Failures))
	state := StateFailing
	if dr.KindOf(err) == dr.KindFenced {
		state = StateFenced
	}
	s.cfg.Logger.Warn("cycle failed", "group", j.name, "failures", st.Failures, "err", err)
	s.setState(j, state)
}

// interval is how long after the beginning of a cycle, which took so long, the next one begins: early enough for its point to be
// there when the one before reaches the age of the objective, with something to spare for a cycle that takes longer.
func interval(rpo, took time.Duration) time.Duration {
	return max(rpo/2, rpo-2*took-min(rpo/10, time.Second))
}

// retryAfter is one second, doubled with each failure up to five minutes, give or take a quarter.
func retryAfter(failures int) time.Duration {
	d := min(time.Second<<min(failures-1, 16), 5*time.Minute)
	return d*3/4 + rand.N(d/2)
}

func (s *Scheduler) cycle(ctx context.Context, j *job, asked bool) (Result, Work, error) {
	work, err := s.cfg.Load(ctx, j.name)
	if err != nil {
		return Result{}, work, fmt.Errorf("replicate %s: %w", j.name, err)
	}
	lease, err := s.leaseOrAway(ctx, j, work)
	if err != nil {
		return Result{}, work, fmt.Errorf("replicate %s: %w", j.name, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if work.Cycler.Spool != nil {
		cancel = func() {} // captures go on without the lease
	}
	if lease != nil {
		go keepLease(ctx, cancel, lease, s.cfg.Logger)
	}
	o := CycleOptions{Drain: work.RPO, Progress: func(p Progress) { s.progress(j, p) }, Freeze: asked || s.freezeDue(ctx, j, work), FreezeTimeout: work.FreezeTimeout}
	res, err := work.Cycler.Cycle(ctx, lease, work.Group, o)
	if err == nil && o.Freeze {
		s.froze(j, res)
	}
	return res, work, err
}

// LeaseTTL is how long a controller may be silent before another may replicate its groups.
const LeaseTTL = 60 * time.Second

// lease returns the group's lease, renewed. A lease is kept between cycles and is the scheduler's alone.
func (s *Scheduler) lease(ctx context.Context, j *job, work Work) (*vault.Lease, error) {
	j.leasing.Lock()
	defer j.leasing.Unlock()
	if j.lease != nil && j.lease.Valid() {
		j.lease.Keep(work.Keep)
		if err := j.lease.Ensure(ctx); err == nil {
			return j.lease, nil
		}
	}
	return s.acquire(ctx, j, work)
}

// acquire takes a new lease, which ends the one before. The lease's lock is held.
func (s *Scheduler) acquire(ctx context.Context, j *job, work Work) (*vault.Lease, error) {
	lease, err := work.Cycler.Vault.Acquire(ctx, j.name, work.Group.Site, s.cfg.Holder, LeaseTTL)
	if err != nil {
		return nil, err
	}
	lease.Keep(work.Keep)
	j.lease = lease
	return lease, nil
}

// keepLease renews a lease while it is being used and ends the use when that is no longer possible.
func keepLease(ctx context.Context, cancel context.CancelFunc, lease *vault.Lease, log *slog.Logger) {
	tick := time.NewTicker(LeaseTTL / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := lease.Renew(ctx); err != nil && !lease.Valid() {
				log.Warn("lease lost", "group", lease.Group(), "err", err)
				cancel()
				return
			}
		}
	}
}

func (s *Scheduler) progress(j *job, p Progress) {
	s.mu.Lock()
	j.status.Progress = p
	s.mu.Unlock()
}

// stop waits for what runs, which ctx has ended, and gives leases back.
func (s *Scheduler) stop(ctx context.Context) {
	s.wg.Wait()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	s.mu.Lock()
	jobs := make([]*job, 0, len(s.jobs))
	for _, j := range s.jobs {
		jobs = append(jobs, j)
	}
	s.mu.Unlock()
	for _, j := range jobs {
		if err := s.release(end, j); err != nil {
			s.cfg.Logger.Warn("release lease", "group", j.name, "err", err)
		}
	}
}

func (s *Scheduler) release(ctx context.Context, j *job) error {
	j.leasing.Lock()
	defer j.leasing.Unlock()
	if j.lease == nil || !j.lease.Valid() {
		return nil
	}
	lease := j.lease
	j.lease = nil
	if err := lease.Release(ctx); dr.KindOf(err) != dr.KindFenced {
		return err
	}
	return nil // another owner has the group: there is nothing left to give back
}

func (s *Scheduler) setState(j *job, state string) {
	if j.paused && state != StateRunning {
		state = StatePaused
	}
	if state == StateWaiting && j.status.Failures > 0 {
		state = StateFailing
	}
	j.status.State = state
	s.told(j)
}

// told passes a group's status on. The lock is held.
func (s *Scheduler) told(j *job) {
	if s.cfg.OnStatus != nil {
		s.cfg.OnStatus(j.status)
	}
}

// enqueue puts a group where it is due. One whose cycle runs is queued again when that ends.
func (s *Scheduler) enqueue(j *job) {
	switch {
	case j.cancel != nil:
		return
	case j.index >= 0:
		heap.Fix(&s.due, j.index)
	default:
		heap.Push(&s.due, j)
	}
	s.poke()
}

func (s *Scheduler) dequeue(j *job) {
	if j.index >= 0 {
		heap.Remove(&s.due, j.index)
	}
}

func (s *Scheduler) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// dueHeap orders waiting groups by when they are due.
type dueHeap []*job

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].status.NextDue.Before(h[j].status.NextDue) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].index = i; h[j].index = j }

// Push adds a group.
func (h *dueHeap) Push(x any) {
	j := x.(*job)
	j.index = len(*h)
	*h = append(*h, j)
}

// Pop removes the last group of the heap.
func (h *dueHeap) Pop() any {
	old := *h
	j := old[len(old)-1]
	j.index = -1
	*h = old[:len(old)-1]
	return j
}
