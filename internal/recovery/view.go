package recovery

import (
	"context"
	"fmt"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/store"
)

// view keeps the steps of runs as people see them. What changes often, such as progress, is written once a second.
type view struct {
	o Options

	mu      sync.Mutex
	rows    map[string]map[string]*row // of active runs, by run and step
	changed chan struct{}
}

type row struct {
	store.Step
	saved time.Time
	told  time.Time // when watchers were last woken for progress
	since time.Time // of the bytes below, for the rate
	from  int64
}

func newView(o Options) *view {
	return &view{o: o, rows: map[string]map[string]*row{}, changed: make(chan struct{})}
}

// changes returns a channel that is closed by the next change.
func (v *view) changes() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}

func (v *view) notify() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.notifyLocked()
}

func (v *view) notifyLocked() {
	close(v.changed)
	v.changed = make(chan struct{})
}

// of returns a run's rows, loaded after a restart. The lock is held.
func (v *view) of(run string) map[string]*row {
	if m := v.rows[run]; m != nil {
		return m
	}
	m := map[string]*row{}
	v.rows[run] = m
	steps, err := v.o.Store.Steps(context.Background(), run)
	if err != nil {
		v.o.Logger.Error("read steps", "run", run, "error", err)
	}
	for _, s := range steps {
		m[s.Name] = &row{Step: s}
	}
	return m
}

// observe takes what the engine says of a step.
func (v *view) observe(e engine.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.o.Now().UTC()
	m := v.of(e.Run)
	s := m[e.Step]
	if s == nil {
		s = &row{Step: store.Step{Run: e.Run, Name: e.Step, Ordinal: len(m) + 1, Title: e.Title, State: store.RunPending}}
		m[e.Step] = s
	}
	switch e.Type {
	case engine.StepStarted:
		s.State, s.Attempts = store.RunRunning, s.Attempts+1
		if s.Started.IsZero() {
			s.Started = now
		}
		s.Error, s.Hint, s.Ended = "", "", time.Time{}
	case engine.StepProgress:
		v.progress(s, e, now)
		if now.Sub(s.saved) < time.Second && e.Err == nil {
			// A driver may report progress thousands of times a second.
			if now.Sub(s.told) >= 200*time.Millisecond {
				s.told = now
				v.notifyLocked()
			}
			return
		}
	case engine.StepReplayed:
		if s.State.Ended() {
			return
		}
		v.end(s, e, now)
	case engine.StepEnded:
		v.end(s, e, now)
	}
	s.saved = now
	if err := v.o.Store.PutStep(context.Background(), s.Step); err != nil {
		v.o.Logger.Error("save step", "run", e.Run, "step", e.Step, "error", err)
	}
	if e.Type == engine.StepStarted || e.Type == engine.StepEnded {
		v.saveRun(e, now)
	}
	v.notifyLocked()
}

func (v *view) progress(s *row, e engine.Event, now time.Time) {
	if e.Message != "" {
		s.Message = e.Message
	}
	if e.Err != nil {
		s.Error, s.Hint = e.Err.Error(), dr.Hint(e.Err)
	}
	if e.Total == 0 {
		return
	}
	s.Done, s.Total = e.Done, e.Total
	if s.since.IsZero() || e.Done < s.from {
		s.since, s.from = now, e.Done
	}
	if took := now.Sub(s.since).Seconds(); took >= 0.5 && e.Done > s.from {
		rate := float64(e.Done-s.from) / took
		s.Rate = int64(rate)
		s.ETA = time.Duration(float64(e.Total-e.Done) / rate * float64(time.Second)).Round(time.Second).String()
	}
}

func (v *view) end(s *row, e engine.Event, now time.Time) {
	s.State, s.Ended, s.ETA = store.RunSucceeded, now, ""
	if e.Err != nil {
		s.State, s.Error, s.Hint = stateOf(e.Err), e.Err.Error(), dr.Hint(e.Err)
	}
}

// saveRun lets the run say what it is doing.
func (v *view) saveRun(e engine.Event, now time.Time) {
	_, err := v.o.Store.ChangeRun(context.Background(), e.Run, func(r *store.Run) error {
		if r.State.Ended() {
			return nil
		}
		r.State = store.RunRunning
		if r.Started.IsZero() {
			r.Started = now
		}
		r.Message = e.Title
		if e.Err != nil {
			r.Message = fmt.Sprintf("%s: %v", e.Title, e.Err)
		}
		return nil
	})
	if err != nil {
		v.o.Logger.Error("save run", "run", e.Run, "error", err)
	}
}

// steps returns the steps of a run, with progress that is not written yet.
func (v *view) steps(ctx context.Context, run string) ([]store.Step, error) {
	list, err := v.o.Store.Steps(ctx, run)
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, s := range list {
		if row := v.rows[run][s.Name]; row != nil {
			list[i] = row.Step
		}
	}
	return list, err
}

// forget drops what is kept in memory of a run that has ended.
func (v *view) forget(run string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.rows, run)
	v.notifyLocked()
}
