// Package engine runs recovery operations so that they survive the death of the controller. It is a thin wrapper around
// DBOS Transact: a run is a Go function whose steps are recorded as they complete, in one SQLite file. After a restart
// every unfinished run is called again; completed steps return what they returned before without being executed, and
// the step that was being executed when the process died is executed again, so step bodies must be idempotent.
//
// It adds what DBOS leaves to us: a leader lease that fences this process itself off when it may have been replaced,
// an abort that interrupts the step under way and still lets clean-up steps run, and a deadline and a stall watchdog
// per step. Errors keep their dr.Kind and hint across restarts.
package engine

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
	_ "github.com/dbos-inc/dbos-transact-golang/dbos/driver/sqlite" // lets DBOS use a *sql.DB of SQLite

	"understudy/internal/dr"
	"understudy/internal/store/sqlite"
)

// applicationVersion never changes: DBOS resumes only runs of its own version, and ours replay by recorded step names.
const applicationVersion = "1"

// Errors of runs.
var (
	// ErrAborted says that the run was asked to end: its steps fail with it, clean-up steps do not.
	ErrAborted = errors.New("aborted")
	// ErrInterrupted says that the engine is closing: the interpreter returns at once and is called again after the
	// next start. Nothing that follows it is recorded.
	ErrInterrupted = errors.New("interrupted: the controller is stopping")
	// ErrTimeout says that a step or a wait took longer than it may.
	ErrTimeout = errors.New("took too long")
	// ErrStalled says that a step made no progress for longer than it may.
	ErrStalled = errors.New("made no progress")
)

// An Interpreter carries out one kind of run. It must do the same steps in the same order whenever it is called with
// the same input and the same step results, so it decides by those only: never by the clock, a random number or state
// read outside of a step.
type Interpreter func(*Run) (result any, err error)

// Options of an Engine.
type Options struct {
	Path   string // the SQLite file
	Logger *slog.Logger

	// Observe is told what steps do, in the order it happens for each step. It must be quick. May be nil.
	Observe func(Event)
	// Finish is called with the outcome of a run before the engine forgets about it, and again until it returns nil;
	// after a crash it may be called again for a run it has seen. May be nil.
	Finish func(ctx context.Context, o Outcome) error
	// Lost is called when this process cannot be sure any more that no other has taken its place. The program must end.
	Lost func(error)
	// LeaseTTL bounds how long a replaced process can go on; 15 s when 0.
	LeaseTTL time.Duration
}

// An Outcome is how a run ended.
type Outcome struct {
	ID     string
	Kind   string
	Result json.RawMessage
	Err    error // a *dr.Error, nil, or wrapping ErrAborted
}

// An Engine runs recovery operations. Register kinds, then Open it.
type Engine struct {
	o     Options
	kinds map[string]Interpreter

	db    *sql.DB
	dbos  dbos.Context
	lease *lease

	mu     sync.Mutex
	opened bool // and not closed since
	active map[string]*Run
}

// New makes an engine that is not open yet.
func New(o Options) *Engine {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(Event) {}
	}
	if o.Finish == nil {
		o.Finish = func(context.Context, Outcome) error { return nil }
	}
	if o.Lost == nil {
		o.Lost = func(error) {}
	}
	if o.LeaseTTL == 0 {
		o.LeaseTTL = 15 * time.Second
	}
	return &Engine{o: o, kinds: map[string]Interpreter{}, active: map[string]*Run{}}
}

// Register says how runs of a kind are carried out. All kinds are registered before Open.
func (e *Engine) Register(kind string, f Interpreter) { e.kinds[kind] = f }

type input struct {
	Kind  string          `json:"kind"`
	Input json.RawMessage `json:"input"`
}

// Open takes the leader lease and resumes every unfinished run. dr.KindConflict when another process holds the lease.
func (e *Engine) Open(ctx context.Context) (err error) {
	l, err := acquire(ctx, e.o.Path, e.o.LeaseTTL)
	if err != nil {
		return fmt.Errorf("open engine: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	e.mu.Lock()
	e.lease, e.db, e.dbos, e.opened = l, l.db, nil, true
	e.mu.Unlock()
	if _, err := e.db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS understudy_aborts(run TEXT PRIMARY KEY, reason TEXT NOT NULL) STRICT`); err != nil {
		return sqlite.Explain(fmt.Errorf("open engine: %w", err))
	}
	// From here on: making the tables may take longer than the lease.
	l.onLost = func(err error) {
		e.o.Logger.Error("this process must end", "error", err)
		e.o.Lost(err)
	}
	go l.keep()
	// The engine outlives the call that opens it; Close ends it.
	e.dbos, err = dbos.NewContext(context.WithoutCancel(ctx), dbos.Config{
		AppName: "understudy", SQLiteSystemDB: e.db, Logger: quiet(e.o.Logger),
		ApplicationVersion: applicationVersion, ExecutorID: "controller",
	})
	if err != nil {
		return sqlite.Explain(fmt.Errorf("open engine: %w", err))
	}
	dbos.RegisterWorkflow(e.dbos, e.run, dbos.WithWorkflowName("run"), dbos.WithMaxRecoveryAttempts(1<<30))
	if err := dbos.Launch(e.dbos); err != nil {
		return sqlite.Explain(fmt.Errorf("open engine: %w", err))
	}
	return nil
}

// Close interrupts the steps under way, waits for them and closes the file. Runs go on after the next Open. It does
// nothing when the engine is not open.
func (e *Engine) Close() error {
	e.mu.Lock()
	opened := e.opened
	e.opened = false
	e.mu.Unlock()
	if !opened {
		return nil
	}
	var err error
	if e.dbos != nil { // not when Open failed early
		err = dbos.Shutdown(e.dbos, 30*time.Second)
	}
	return errors.Join(err, e.lease.release())
}

// Start begins a run. Starting an ID again is no error and changes nothing, whether the run is under way or has ended.
func (e *Engine) Start(ctx context.Context, id, kind string, in any) error {
	if e.kinds[kind] == nil {
		return dr.WithHint(fmt.Errorf("start run %s: no such kind %q", id, kind), dr.KindInvalid, "")
	}
	data, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("start run %s: %w", id, err)
	}
	if _, err := dbos.RunWorkflow(e.dbos, e.run, input{Kind: kind, Input: data}, dbos.WithWorkflowID(id)); err != nil {
		return sqlite.Explain(fmt.Errorf("start run %s: %w", id, err))
	}
	return nil
}

// run is the one workflow that DBOS knows: it interprets its input.
func (e *Engine) run(ctx dbos.Context, in input) (string, error) {
	id, err := dbos.GetWorkflowID(ctx)
	if err != nil {
		return "", err
	}
	f := e.kinds[in.Kind]
	if f == nil {
		// A newer program wrote it: wait for that program instead of failing somebody's recovery.
		e.o.Logger.Error("run of an unknown kind waits for a program that knows it", "run", id, "kind", in.Kind)
		<-ctx.Done()
		return "", ErrInterrupted
	}
	r := &Run{ID: id, Kind: in.Kind, Input: in.Input, e: e, ctx: ctx, aborted: make(chan struct{}), waiting: map[string]int{}}
	if err := e.begin(r); err != nil {
		return "", err
	}
	defer func() {
		e.mu.Lock()
		delete(e.active, id)
		e.mu.Unlock()
	}()
	result, err := f(r)
	if ctx.Err() != nil || errors.Is(err, ErrInterrupted) {
		<-ctx.Done()
		return "", ErrInterrupted
	}
	if r.replaced(ctx) {
		return "", ErrInterrupted
	}
	out := Outcome{ID: id, Kind: in.Kind, Err: err}
	if result != nil {
		if out.Result, err = json.Marshal(result); err != nil {
			out.Err = errors.Join(out.Err, fmt.Errorf("encode result: %w", err))
		}
	}
	for delay := 100 * time.Millisecond; ; delay = min(2*delay, 10*time.Second) {
		if err = e.o.Finish(ctx, out); err == nil {
			break
		}
		e.o.Logger.Error("record the outcome of a run", "run", id, "error", err)
		select {
		case <-ctx.Done():
			return "", ErrInterrupted
		case <-time.After(delay):
		}
	}
	data, err := json.Marshal(record{Value: out.Result, Error: toRecorded(out.Err)})
	return string(data), err
}

// begin makes a run known to Abort, with the abort that was asked for before a restart.
func (e *Engine) begin(r *Run) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var reason string
	err := e.db.QueryRowContext(r.ctx, "SELECT reason FROM understudy_aborts WHERE run = ?", r.ID).Scan(&reason)
	switch {
	case err == nil:
		r.abort(reason)
	case !errors.Is(err, sql.ErrNoRows):
		if r.ctx.Err() != nil {
			return ErrInterrupted
		}
		return sqlite.Explain(fmt.Errorf("read abort of run %s: %w", r.ID, err))
	}
	e.active[r.ID] = r
	return nil
}

// Abort asks a run to end. The step under way is interrupted, further steps fail with ErrAborted, clean-up steps run.
// It is durable: a run that a crash interrupts is aborted when it resumes. Aborting a run that has ended does nothing.
func (e *Engine) Abort(ctx context.Context, id, reason string) error {
	// The lock orders this against begin: either begin reads the row, or we find the run active.
	e.mu.Lock()
	_, err := e.db.ExecContext(ctx, "INSERT INTO understudy_aborts(run, reason) VALUES(?, ?) ON CONFLICT DO NOTHING", id, reason)
	r := e.active[id]
	e.mu.Unlock()
	if err != nil {
		return sqlite.Explain(fmt.Errorf("abort run %s: %w", id, err))
	}
	if r == nil {
		return nil
	}
	for _, topic := range r.abort(reason) {
		if err := dbos.Send(e.dbos, id, message{Aborted: true}, topic); err != nil {
			return sqlite.Explain(fmt.Errorf("abort run %s: %w", id, err))
		}
	}
	return nil
}

// Signal delivers a value to a run's Wait of that name, now or when it comes to it.
func (e *Engine) Signal(ctx context.Context, id, name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("signal run %s: %w", id, err)
	}
	if err := dbos.Send(e.dbos, id, message{Value: data}, name); err != nil {
		if errors.Is(err, dbos.ErrNonExistentWorkflow) {
			return dr.WithHint(fmt.Errorf("signal run %s: no such run", id), dr.KindNotFound, "understudy run list")
		}
		return sqlite.Explain(fmt.Errorf("signal run %s: %w", id, err))
	}
	return nil
}

// Status is what the engine knows of a run.
type Status struct {
	ID     string
	Active bool
	// Outcome is set when the run has ended.
	Outcome Outcome
}

// Status returns what the engine knows of a run; dr.KindNotFound when it was never started.
func (e *Engine) Status(ctx context.Context, id string) (Status, error) {
	list, err := e.list(dbos.WithFilterWorkflowIDs(id), dbos.WithFilterLoadOutput(true))
	if err != nil {
		return Status{}, err
	}
	if len(list) == 0 {
		return Status{}, dr.WithHint(fmt.Errorf("no run %q", id), dr.KindNotFound, "understudy run list")
	}
	return list[0], nil
}

// Active lists the runs that have not ended.
func (e *Engine) Active(ctx context.Context) ([]Status, error) {
	return e.list(dbos.WithFilterStatus(dbos.WorkflowStatusPending, dbos.WorkflowStatusEnqueued), dbos.WithFilterLoadOutput(false))
}

func (e *Engine) list(filters ...dbos.ListWorkflowsOption) ([]Status, error) {
	rows, err := dbos.ListWorkflows(e.dbos, append(filters, dbos.WithFilterLoadInput(false))...)
	if err != nil {
		return nil, sqlite.Explain(fmt.Errorf("list runs: %w", err))
	}
	var out []Status
	for _, w := range rows {
		s := Status{ID: w.ID, Outcome: Outcome{ID: w.ID}}
		switch w.Status {
		case dbos.WorkflowStatusPending, dbos.WorkflowStatusEnqueued, dbos.WorkflowStatusDelayed:
			s.Active = true
		default:
			s.Outcome.Err = w.Error
			if text, ok := w.Output.(string); ok && w.Error == nil {
				rec, err := decodeOutput(text)
				if err != nil {
					return nil, fmt.Errorf("read outcome of run %s: %w", w.ID, err)
				}
				s.Outcome.Result, s.Outcome.Err = rec.Value, rec.Error.err()
			}
		}
		out = append(out, s)
	}
	return out, nil
}

// decodeOutput reads an outcome; DBOS lists outputs as the JSON text of the string that run returned.
func decodeOutput(text string) (rec record, err error) {
	var inner string
	if json.Unmarshal([]byte(text), &inner) == nil {
		text = inner
	}
	return rec, json.Unmarshal([]byte(text), &rec)
}

// Forget removes what the engine keeps of runs that have ended.
func (e *Engine) Forget(ctx context.Context, ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	for _, id := range ids {
		if _, err := e.db.ExecContext(ctx, "DELETE FROM understudy_aborts WHERE run = ?", id); err != nil {
			return sqlite.Explain(fmt.Errorf("forget runs: %w", err))
		}
	}
	if err := dbos.DeleteWorkflows(e.dbos, ids); err != nil {
		return sqlite.Explain(fmt.Errorf("forget runs: %w", err))
	}
	return nil
}

// forgetAtOnce is how many runs are forgotten in one transaction.
const forgetAtOnce = 200

// ForgetEnded removes what the engine keeps of runs that ended at or before a time, and returns how many there were.
func (e *Engine) ForgetEnded(ctx context.Context, before time.Time) (int, error) {
	for n := 0; ; {
		list, err := e.list(dbos.WithFilterCompletedBefore(before), dbos.WithFilterLimit(forgetAtOnce), dbos.WithFilterLoadOutput(false))
		if err != nil || len(list) == 0 {
			return n, err
		}
		ids := make([]string, len(list))
		for i, s := range list {
			if ids[i] = s.ID; s.Active {
				return n, fmt.Errorf("forget runs: run %s has not ended", s.ID)
			}
		}
		if err := e.Forget(ctx, ids...); err != nil {
			return n, err
		}
		n += len(ids)
	}
}

// quiet keeps what DBOS says about itself out of our log, but for what goes wrong.
func quiet(l *slog.Logger) *slog.Logger { return slog.New(warnings{l.Handler()}) }

type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}
func (w warnings) WithAttrs(a []slog.Attr) slog.Handler { return warnings{w.Handler.WithAttrs(a)} }
func (w warnings) WithGroup(name string) slog.Handler   { return warnings{w.Handler.WithGroup(name)} }
