package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"

	"understudy/internal/dr"
	"understudy/internal/store/sqlite"
)

// A Run is one execution of an operation, as its interpreter sees it.
type Run struct {
	ID    string
	Kind  string
	Input json.RawMessage

	e   *Engine
	ctx dbos.Context

	mu      sync.Mutex
	aborted chan struct{}
	reason  string
	waiting map[string]int
}

// abort sets the flag and returns the waits to wake.
func (r *Run) abort(reason string) (topics []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.aborted:
	default:
		r.reason = reason
		close(r.aborted)
	}
	for t := range r.waiting {
		topics = append(topics, t)
	}
	return topics
}

// Aborted is an error that wraps ErrAborted once the run was asked to end. Steps that set Cleanup look for themselves.
func (r *Run) Aborted() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.aborted:
		return abortedBy(r.reason)
	default:
		return nil
	}
}

func abortedBy(reason string) error {
	if reason == "" {
		return ErrAborted
	}
	return fmt.Errorf("%w: %s", ErrAborted, reason)
}

// StepOptions say how a step is executed.
type StepOptions struct {
	// Timeout bounds each attempt; 0 does not.
	Timeout time.Duration
	// Stall bounds the time between two calls of Progress.Beat; 0 does not.
	Stall time.Duration
	// Retries is how often a failed attempt is repeated while its error may pass: dr.KindUnavailable or unclassified.
	Retries int
	// Backoff is the pause before the first repetition; it doubles up to 30 s. 500 ms when 0.
	Backoff time.Duration
	// Cleanup marks a step that runs even when the run was aborted.
	Cleanup bool
}

// A Step is one recorded action of a run.
type Step[T any] struct {
	Name    string // unique in the run
	Title   string // for people
	Options StepOptions
	// Do carries the step out. It may be executed again after a crash. T must survive JSON.
	Do func(ctx context.Context, p *Progress) (T, error)
}

// EventType says what happened to a step.
type EventType string

// Events of a step.
const (
	StepStarted  EventType = "started"  // an attempt begins
	StepProgress EventType = "progress" // its body says how far it is
	StepEnded    EventType = "ended"
	// StepReplayed says, after a restart, that a step had ended before: an Observer that died may have missed it.
	StepReplayed EventType = "replayed"
)

// An Event is something that happened to a step.
type Event struct {
	Type    EventType
	Run     string
	Step    string
	Title   string
	Attempt int
	Message string
	Done    int64
	Total   int64
	Err     error
}

// Progress lets a step's body say how far it is.
type Progress struct {
	r       *Run
	event   Event
	beat    atomic.Int64 // nanoseconds of the monotonic clock since start
	started time.Time
}

// Beat says that the body is alive, for the stall watchdog.
func (p *Progress) Beat() { p.beat.Store(int64(time.Since(p.started))) }

// Say reports what the step is doing.
func (p *Progress) Say(format string, args ...any) {
	p.Beat()
	e := p.event
	e.Type, e.Message = StepProgress, fmt.Sprintf(format, args...)
	p.r.e.o.Observe(e)
}

// Bytes reports how many of how many bytes are done.
func (p *Progress) Bytes(done, total int64) {
	p.Beat()
	e := p.event
	e.Type, e.Done, e.Total = StepProgress, done, total
	p.r.e.o.Observe(e)
}

// record is what is kept of a step or a run.
type record struct {
	Value json.RawMessage `json:"value,omitempty"`
	Error *recordedError  `json:"error,omitempty"`
}

type recordedError struct {
	Message string  `json:"message"`
	Kind    dr.Kind `json:"kind"`
	Hint    string  `json:"hint,omitempty"`
	Aborted bool    `json:"aborted,omitempty"`
	Timeout bool    `json:"timeout,omitempty"`
}

func toRecorded(err error) *recordedError {
	if err == nil {
		return nil
	}
	return &recordedError{
		Message: err.Error(), Kind: dr.KindOf(err), Hint: dr.Hint(err),
		Aborted: errors.Is(err, ErrAborted), Timeout: errors.Is(err, ErrTimeout) || errors.Is(err, ErrStalled),
	}
}

// err restores the error with its text, kind, hint and the sentinels that errors.Is finds.
func (e *recordedError) err() error {
	if e == nil {
		return nil
	}
	restored := &restoredError{text: e.Message}
	switch {
	case e.Aborted:
		restored.is = ErrAborted
	case e.Timeout:
		restored.is = ErrTimeout
	}
	return dr.WithHint(restored, e.Kind, e.Hint)
}

type restoredError struct {
	text string
	is   error
}

func (e *restoredError) Error() string        { return e.text }
func (e *restoredError) Is(target error) bool { return e.is != nil && target == e.is }

// Do carries out a step, or returns what it returned when it was carried out before a restart.
func Do[T any](r *Run, s Step[T]) (T, error) {
	list, errs := Parallel(r, []Step[T]{s})
	return list[0], errs[0]
}

// Parallel carries out steps at the same time and waits for all of them. Results and errors are in the order of steps.
func Parallel[T any](r *Run, steps []Step[T]) ([]T, []error) {
	values, errs := make([]T, len(steps)), make([]error, len(steps))
	if r.ctx.Err() != nil {
		for i := range errs {
			errs[i] = ErrInterrupted
		}
		return values, errs
	}
	type pending struct {
		out      <-chan dbos.StepOutcome[string]
		err      error
		executed *atomic.Bool
	}
	started := make([]pending, len(steps))
	for i, s := range steps {
		executed := new(atomic.Bool)
		// Go numbers the steps here, in order, so that a replay finds them whatever order they end in.
		out, err := dbos.Go(r.ctx, func(ctx context.Context) (string, error) {
			executed.Store(true)
			return execute(ctx, r, s)
		}, dbos.WithStepName(s.Name))
		started[i] = pending{out, err, executed}
	}
	for i, p := range started {
		var outcome dbos.StepOutcome[string]
		if p.err == nil {
			outcome = <-p.out
		}
		if r.ctx.Err() != nil {
			errs[i] = ErrInterrupted
			continue
		}
		if err := errors.Join(p.err, outcome.Err); err != nil {
			// The engine's own error, such as a full disk: what the step did is not recorded, so the run cannot
			// go on in this process without doing other steps than a replay would.
			r.e.lease.lose(sqlite.Explain(fmt.Errorf("record step %q of run %s: %w", steps[i].Name, r.ID, err)))
			errs[i] = ErrInterrupted
			continue
		}
		var rec record
		if err := json.Unmarshal([]byte(outcome.Result), &rec); err != nil {
			errs[i] = fmt.Errorf("%s: read its result: %w", steps[i].Name, err)
			continue
		}
		errs[i] = rec.Error.err()
		if len(rec.Value) > 0 {
			if err := json.Unmarshal(rec.Value, &values[i]); err != nil {
				errs[i] = fmt.Errorf("%s: read its result: %w", steps[i].Name, err)
			}
		}
		if !p.executed.Load() {
			r.e.o.Observe(Event{Type: StepReplayed, Run: r.ID, Step: steps[i].Name, Title: steps[i].Title, Err: errs[i]})
		}
	}
	return values, errs
}

// execute runs the attempts of a step. Its error is the engine's; the step's own is in the record.
func execute[T any](ctx context.Context, r *Run, s Step[T]) (string, error) {
	event := Event{Run: r.ID, Step: s.Name, Title: s.Title}
	var value T
	var err error
	delay := s.Options.Backoff
	if delay == 0 {
		delay = 500 * time.Millisecond
	}
	for attempt := 1; ; attempt++ {
		if err = r.Aborted(); err != nil && !s.Options.Cleanup {
			break
		}
		if r.replaced(ctx) { // it slept since the step before
			return "", ErrInterrupted
		}
		event.Type, event.Attempt = StepStarted, attempt
		r.e.o.Observe(event)
		value, err = attemptOnce(ctx, r, s, event)
		if err == nil || attempt > s.Options.Retries || !passing(err) || ctx.Err() != nil {
			break
		}
		progress := event
		progress.Type, progress.Err = StepProgress, err
		progress.Message = fmt.Sprintf("attempt %d failed, next in %s: %v", attempt, delay, err)
		r.e.o.Observe(progress)
		if !pause(ctx, r, s.Options.Cleanup, delay) {
			continue // aborted or closing: decided above and below
		}
		delay = min(2*delay, 30*time.Second)
	}
	if ctx.Err() != nil {
		return "", ErrInterrupted
	}
	// Nothing is recorded once this process may have been replaced: the step is executed again by its successor.
	if r.replaced(ctx) {
		return "", ErrInterrupted
	}
	rec := record{Error: toRecorded(err)}
	data, encodeErr := json.Marshal(value)
	if encodeErr != nil {
		return "", fmt.Errorf("encode result: %w", encodeErr)
	}
	rec.Value = data
	text, encodeErr := json.Marshal(rec)
	event.Type, event.Err = StepEnded, err
	r.e.o.Observe(event)
	return string(text), encodeErr
}

// replaced reports whether another process may have taken this one's place. It then returns when the engine closes.
func (r *Run) replaced(ctx context.Context) bool {
	lost := r.e.lease.check()
	if lost == nil {
		return false
	}
	r.e.lease.lose(lost)
	<-ctx.Done()
	return true
}

func pause(ctx context.Context, r *Run, cleanup bool, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	aborted := r.aborted
	if cleanup {
		aborted = nil
	}
	select {
	case <-t.C:
		return true
	case <-aborted:
		return false
	case <-ctx.Done():
		return false
	}
}

// passing says whether an error may pass by itself.
func passing(err error) bool {
	if errors.Is(err, ErrAborted) {
		return false
	}
	k := dr.KindOf(err)
	return k == dr.KindUnavailable || k == dr.KindInternal
}

// attemptOnce runs the body under its watchdog.
func attemptOnce[T any](ctx context.Context, r *Run, s Step[T], event Event) (value T, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if s.Options.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, s.Options.Timeout, fmt.Errorf("%w (more than %s)", ErrTimeout, s.Options.Timeout))
		defer stop()
	}
	p := &Progress{r: r, event: event, started: time.Now()}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		watch(ctx, cancel, r, s.Options, p)
	}()
	defer func() {
		// The body's own error says less than why it was interrupted.
		cause := context.Cause(ctx)
		cancel(nil)
		<-watched
		if err != nil && cause != nil && r.ctx.Err() == nil && (errors.Is(cause, ErrAborted) || errors.Is(cause, ErrTimeout) || errors.Is(cause, ErrStalled)) && !errors.Is(err, cause) {
			kind := dr.KindUnavailable
			if errors.Is(cause, ErrAborted) {
				kind = dr.KindConflict
			}
			err = dr.WithHint(fmt.Errorf("%w: %w", cause, err), kind, dr.Hint(err))
		}
	}()
	return s.Do(ctx, p)
}

func watch(ctx context.Context, cancel context.CancelCauseFunc, r *Run, o StepOptions, p *Progress) {
	aborted := r.aborted
	if o.Cleanup {
		aborted = nil
	}
	var tick <-chan time.Time
	if o.Stall > 0 {
		t := time.NewTicker(max(o.Stall/4, time.Millisecond))
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-aborted:
			cancel(r.Aborted())
			return
		case <-tick:
			if quiet := time.Since(p.started) - time.Duration(p.beat.Load()); quiet > o.Stall {
				cancel(fmt.Errorf("%w for %s", ErrStalled, o.Stall))
				return
			}
		}
	}
}

type message struct {
	Value   json.RawMessage `json:"value,omitempty"`
	Aborted bool            `json:"aborted,omitempty"`
}

// Wait waits for a Signal of that name and decodes its value into out. It returns ErrTimeout, or ErrAborted.
func (r *Run) Wait(name string, timeout time.Duration, out any) error {
	r.mu.Lock()
	r.waiting[name]++ // before the flag is looked at, so that an abort either is seen here or wakes the wait
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		if r.waiting[name]--; r.waiting[name] == 0 {
			delete(r.waiting, name)
		}
		r.mu.Unlock()
	}()
	// A step, so that a replay decides alike.
	if _, err := Do(r, Step[bool]{Name: "wait for " + name, Title: "wait for " + name,
		Do: func(context.Context, *Progress) (bool, error) { return true, nil }}); err != nil {
		return err
	}
	m, err := dbos.Recv[message](r.ctx, name, timeout)
	switch {
	case r.ctx.Err() != nil:
		return ErrInterrupted
	case errors.Is(err, dbos.ErrTimeout):
		return dr.WithHint(fmt.Errorf("wait for %s: %w (more than %s)", name, ErrTimeout, timeout), dr.KindUnavailable, "")
	case err != nil:
		r.e.lease.lose(sqlite.Explain(fmt.Errorf("wait for %s in run %s: %w", name, r.ID, err)))
		return ErrInterrupted
	case m.Aborted:
		return fmt.Errorf("wait for %s: %w", name, ErrAborted)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(m.Value, out)
}

// Replaced reports whether another process may have taken this one's place; it then returns when the engine closes. A
// body that does more than one thing that must not be done twice asks it before each.
func (p *Progress) Replaced(ctx context.Context) bool { return p.r.replaced(ctx) }
