// Package recovery brings groups of machines up from their recovery points: test failovers that are cleaned up again,
// planned and unplanned failovers, commit. Each is a run: steps on the durable engine that go on after the death of the
// controller, with the disks they boot from served before anything else. It also keeps the former owner's machines from
// coming back to life (Reconcile).
package recovery

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/site"
	"understudy/internal/store"
	"understudy/internal/vault"
)

// A Vault is what a run needs of a vault; *vault.Vault is one.
type Vault interface {
	FindPoint(ctx context.Context, group, sel string) (dr.RecoveryPoint, error)
	Head(ctx context.Context, group string) (vault.Head, error)
	OpenPoint(ctx context.Context, group, id string) (*vault.Point, error)
	Owner(ctx context.Context, group string) (vault.Owner, error)
	Acquire(ctx context.Context, group, site, holder string, ttl time.Duration) (*vault.Lease, error)
	TakeOver(ctx context.Context, group, site, holder string, ttl time.Duration) (*vault.Lease, error)
}

// A Replicator makes recovery points of groups. Its methods are idempotent.
type Replicator interface {
	// Pause ends the cycle under way and starts no other.
	Pause(ctx context.Context, group string) error
	// Resume lets cycles go on.
	Resume(ctx context.Context, group string) error
	// Final makes a recovery point of a paused group whose machines are stopped, so that it holds everything. When
	// nothing changed since the newest point it returns that.
	Final(ctx context.Context, group string) (dr.RecoveryPoint, error)
}

// Kinds of run.
const (
	KindTest     = "test-failover"
	KindFailover = "failover"
	KindPlanned  = "planned-failover"
	KindCommit   = "commit"
	KindCleanup  = "cleanup"
)

// Options of a Recovery.
type Options struct {
	Store      *store.Store
	EnginePath string // SQLite file of the engine
	RunDir     string // for sockets; its path must be short (a socket's path is at most 107 bytes)

	Sites      func(ctx context.Context, name string) (site.Driver, error)
	Vaults     func(ctx context.Context, name string) (Vault, error)
	Replicator Replicator

	Holder string // names this controller in vaults; the same after a restart
	Now    func() time.Time
	Logger *slog.Logger
	// Lost is called when another controller may have taken over: the program must end.
	Lost func(error)

	// ShutdownGrace is how long a guest may take to shut down before it is forced; 1 minute when 0.
	ShutdownGrace time.Duration
	// SiteTimeout bounds what is asked of a site that may be down; 15 s when 0.
	SiteTimeout time.Duration
}

// A Recovery carries out runs.
type Recovery struct {
	o       Options
	engine  *engine.Engine
	exports *exports
	view    *view
}

// New makes a Recovery; Open starts it.
func New(o Options) *Recovery {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.ShutdownGrace == 0 {
		o.ShutdownGrace = time.Minute
	}
	if o.SiteTimeout == 0 {
		o.SiteTimeout = 15 * time.Second
	}
	r := &Recovery{o: o}
	r.view = newView(o)
	r.exports = &exports{o: o, served: map[string]*served{}}
	r.engine = engine.New(engine.Options{
		Path: o.EnginePath, Logger: o.Logger, Lost: o.Lost, Observe: r.view.observe, Finish: r.finish,
	})
	r.engine.Register(KindTest, r.interpret(r.testFailover))
	r.engine.Register(KindFailover, r.interpret(r.failover))
	r.engine.Register(KindPlanned, r.interpret(r.planned))
	r.engine.Register(KindCommit, r.interpret(r.commit))
	r.engine.Register(KindCleanup, r.interpret(r.cleanup))
	return r
}

func (r *Recovery) interpret(f func(*engine.Run, Plan) (*Result, error)) engine.Interpreter {
	return func(run *engine.Run) (any, error) {
		var p Plan
		if err := json.Unmarshal(run.Input, &p); err != nil {
			return nil, fmt.Errorf("read plan: %w", err)
		}
		return f(run, p)
	}
}

// Open serves again what was served, then resumes the runs that were under way. Machines may be running on the exports,
// so a vault that cannot be reached now is no error: Reconcile tries again.
func (r *Recovery) Open(ctx context.Context) error {
	if err := r.exports.restore(ctx); err != nil {
		r.o.Logger.Error("serve recovery points again", "error", err)
	}
	if err := r.engine.Open(ctx); err != nil {
		return errors.Join(err, r.exports.close())
	}
	// A run may have been recorded without reaching the engine.
	runs, err := r.o.Store.Runs(ctx, store.RunFilter{Active: true, Limit: 100000})
	for _, run := range runs {
		err = errors.Join(err, r.engine.Start(ctx, run.ID, run.Kind, run.Input))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("resume runs: %w", err), r.Close())
	}
	return nil
}

// runsKept is how long the engine's record of a run that has ended is kept; what people see of it stays in the store.
const runsKept = 30 * 24 * time.Hour

// Tidy lets go of what is not needed any more. The controller calls it now and then.
func (r *Recovery) Tidy(ctx context.Context) error {
	n, err := r.engine.ForgetEnded(ctx, r.o.Now().Add(-runsKept))
	if n > 0 {
		r.o.Logger.Info("forgot runs that ended long ago", "runs", n)
	}
	return err
}

// Close interrupts runs, which go on after the next Open, and stops serving.
func (r *Recovery) Close() error {
	return errors.Join(r.engine.Close(), r.exports.close())
}

// A Request asks for a run.
type Request struct {
	Kind  string
	Group string
	Point string // failovers: "latest" (when empty), an ID or a time
	By    string // who asks
	// FailedAt is when the source failed, if known: the achieved RPO is measured from it. Zero: now.
	FailedAt time.Time
}

// A Plan is the input of a run: what was configured when it was asked for. Editing the group later does not change it.
type Plan struct {
	Run       string             `json:"run"`
	Kind      string             `json:"kind"`
	Group     string             `json:"group"`
	Source    string             `json:"source"`
	Target    string             `json:"target"`
	Vault     string             `json:"vault"`
	Point     string             `json:"point,omitempty"`
	Machines  []dr.MachinePolicy `json:"machines"`
	Requested time.Time          `json:"requested"`
	FailedAt  time.Time          `json:"failedAt,omitzero"`
	// Of is the run that a clean-up or commit is about, or the failover that a failover starts over.
	Of     string `json:"of,omitempty"`
	OfKind string `json:"ofKind,omitempty"`
	// Change says that the group is failed over already and another recovery point is wanted.
	Change bool `json:"change,omitempty"`
}

// A Result is what a run achieved. It is complete when the run has ended, and grows before.
type Result struct {
	Point     string          `json:"point,omitempty"`
	PointTime time.Time       `json:"pointTime,omitzero"`
	Epoch     uint64          `json:"epoch,omitempty"` // after a failover
	RPO       Seconds         `json:"rpoSeconds"`      // from the newest instant that is in the point to the failure
	RTO       Seconds         `json:"rtoSeconds"`      // from the request to the last machine's health
	Machines  []MachineResult `json:"machines,omitempty"`
	Source    []SourceResult  `json:"source,omitempty"`
	Healthy   time.Time       `json:"healthy,omitzero"` // when the last machine was
	// Independent is when the machines no longer needed the vault.
	Independent time.Time `json:"independent,omitzero"`
	// Restored says that a planned failover that failed gave production back to the source.
	Restored bool `json:"restored,omitempty"`
}

// LiveSince is when the first machine was started, or zero.
func (r Result) LiveSince() (first time.Time) {
	for _, m := range r.Machines {
		if first.IsZero() || m.Started.Before(first) {
			first = m.Started
		}
	}
	return first
}

// MachineResult is a machine that was brought up.
type MachineResult struct {
	Name    string    `json:"name"` // in the group
	As      string    `json:"as"`   // its name at the target
	Started time.Time `json:"started"`
	Healthy time.Time `json:"healthy,omitzero"` // when its probe passed
	RTO     Seconds   `json:"rtoSeconds"`
}

// SourceResult is what became of a machine at the source.
type SourceResult struct {
	Name  string `json:"name"`
	Held  bool   `json:"held"`
	Error string `json:"error,omitempty"`
}

// Seconds is a duration that is written as a number of seconds.
type Seconds float64

func seconds(d time.Duration) Seconds { return Seconds(max(0, d).Seconds()) }

// Start begins a run and returns it. What the state of the group forbids is dr.KindConflict with what is allowed.
func (r *Recovery) Start(ctx context.Context, q Request) (store.Run, error) {
	run, change, err := r.prepare(ctx, q)
	if err != nil {
		return store.Run{}, fmt.Errorf("%s %s: %w", q.Kind, q.Group, err)
	}
	if err := r.o.Store.CreateRun(ctx, run, change); err != nil {
		return store.Run{}, err
	}
	r.event(ctx, "run.started", run, fmt.Sprintf("%s of %s was asked for", run.Kind, run.Group))
	// From here on a restart starts it; the caller going away does not stop it.
	if err := r.engine.Start(context.WithoutCancel(ctx), run.ID, run.Kind, run.Input); err != nil {
		return run, err
	}
	return run, nil
}

// prepare makes the run of a request and the change of protection that goes with it.
func (r *Recovery) prepare(ctx context.Context, q Request) (store.Run, func(*store.Protection) error, error) {
	var random [4]byte
	rand.Read(random[:])
	now := r.o.Now().UTC()
	p := Plan{Run: "r" + hex.EncodeToString(random[:]), Kind: q.Kind, Group: q.Group, Point: q.Point, Requested: now, FailedAt: q.FailedAt}
	g, err := r.o.Store.Group(ctx, q.Group)
	if err != nil {
		return store.Run{}, nil, err
	}
	p.Source, p.Target, p.Vault, p.Machines = g.Site, g.Target, g.Vault, g.Machines
	prot, err := r.o.Store.Protection(ctx, q.Group)
	if err != nil {
		return store.Run{}, nil, err
	}
	if p.Point == "" && p.failsOver() {
		p.Point = "latest"
	}
	// The state is looked at again inside of the transaction; here it selects the run that this one is about.
	change := func(*store.Protection) error { return nil }
	switch q.Kind {
	case KindTest:
		change = func(s *store.Protection) error { s.TestRun = p.Run; return apply(s, dr.OpTestFailover) }
	case KindPlanned:
		change = func(s *store.Protection) error { s.Run = p.Run; return apply(s, dr.OpPlannedFailover) }
		if p.Point != "latest" {
			err = dr.WithHint(errors.New("a planned failover takes the point that its final sync makes"), dr.KindInvalid, "leave --point out, or use --unplanned")
		}
	case KindFailover:
		// The state changes when the epoch is raised; before that a failed run leaves everything as it was.
		change = func(s *store.Protection) error { c := *s; return apply(&c, failoverOp(c)) }
		err = r.startOver(ctx, &p, prot)
	case KindCommit:
		p.Of, p.OfKind = prot.Run, KindFailover
		change = func(s *store.Protection) error { c := *s; return apply(&c, dr.OpCommit) }
	case KindCleanup:
		change, err = r.prepareCleanup(ctx, &p, prot)
	default:
		err = dr.WithHint(fmt.Errorf("no such kind of run"), dr.KindInvalid, "")
	}
	if err == nil && p.failsOver() {
		err = errors.Join(p.validate(), r.checkPoint(ctx, p))
	}
	if err != nil {
		return store.Run{}, nil, err
	}
	data, err := json.Marshal(p)
	return store.Run{ID: p.Run, Kind: p.Kind, Group: p.Group, Point: p.Point, State: store.RunPending, Requested: now, By: q.By, Input: data}, change, err
}

// checkPoint refuses a recovery point that does not exist before there is a run. A vault that cannot be reached now is
// the run's affair.
func (r *Recovery) checkPoint(ctx context.Context, p Plan) error {
	if p.Point == "latest" {
		return nil
	}
	v, err := r.o.Vaults(ctx, p.Vault)
	if err != nil {
		return nil
	}
	_, err = v.FindPoint(ctx, p.Group, p.Point)
	if kind := dr.KindOf(err); err != nil && (kind == dr.KindNotFound || kind == dr.KindInvalid) {
		return err
	}
	return nil
}

func (p Plan) failsOver() bool {
	return p.Kind == KindTest || p.Kind == KindFailover || p.Kind == KindPlanned
}

func (p Plan) validate() error {
	switch {
	case p.Target == "":
		return dr.WithHint(errors.New("the group has no target site"), dr.KindInvalid, "understudy protect "+p.Group+" --target SITE")
	case p.Target == p.Source && p.Kind != KindTest:
		return dr.WithHint(fmt.Errorf("source and target are both %s", p.Source), dr.KindInvalid, "understudy protect "+p.Group+" --target SITE")
	case len(p.Machines) == 0:
		return dr.WithHint(errors.New("the group has no machines"), dr.KindInvalid, "")
	}
	return nil
}

func failoverOp(s store.Protection) dr.Operation {
	if s.State == dr.StateFailedOver {
		return dr.OpChangePoint
	}
	return dr.OpFailover
}

// startOver lets a failover after a failover begin by removing what that one made.
func (r *Recovery) startOver(ctx context.Context, p *Plan, prot store.Protection) error {
	if prot.State != dr.StateFailedOver && prot.State != dr.StateFailoverFailed || prot.Run == "" {
		return nil
	}
	run, before, err := r.planOf(ctx, prot.Run)
	if err != nil {
		return err
	}
	p.Change = prot.State == dr.StateFailedOver
	p.Source, p.Target, p.Machines, p.Vault = before.Source, before.Target, before.Machines, before.Vault
	p.Of, p.OfKind = run.ID, run.Kind
	return nil
}

// prepareCleanup finds what there is to clean up: a test failover, else what a failed failover left.
func (r *Recovery) prepareCleanup(ctx context.Context, p *Plan, prot store.Protection) (func(*store.Protection) error, error) {
	of, isTest := prot.TestRun, prot.Test != "" && prot.Test != dr.TestNone
	if !isTest {
		of = ""
		if prot.State == dr.StateFailoverFailed {
			of = prot.Run
		}
	}
	if of == "" {
		return nil, dr.WithHint(errors.New("there is nothing to clean up"), dr.KindConflict, "understudy run list")
	}
	run, before, err := r.planOf(ctx, of)
	if err != nil {
		return nil, err
	}
	if !isTest && run.CleanedBy != "" {
		return nil, dr.WithHint(fmt.Errorf("run %s was cleaned up by %s", of, run.CleanedBy), dr.KindConflict, dr.OpFailover.Command())
	}
	p.Of, p.OfKind, p.Target, p.Source, p.Machines, p.Vault = of, run.Kind, before.Target, before.Source, before.Machines, before.Vault
	return func(s *store.Protection) error {
		if !isTest {
			return nil
		}
		return apply(s, dr.OpCleanup)
	}, nil
}

func (r *Recovery) planOf(ctx context.Context, id string) (store.Run, Plan, error) {
	var p Plan
	run, err := r.o.Store.Run(ctx, id)
	if err == nil {
		err = json.Unmarshal(run.Input, &p)
	}
	if err != nil {
		return run, p, fmt.Errorf("read plan of run %s: %w", id, err)
	}
	return run, p, nil
}

// apply carries a protection over to what an operation makes of it. A group that nothing was recorded of is protected.
func apply(s *store.Protection, op dr.Operation) error {
	p := s.Protection
	if p.State == "" {
		p.State = dr.StateProtected
	}
	next, err := p.Next(op)
	if err == nil {
		s.Protection = next
	}
	return err
}

// Apply records an operation on a group's protection that is no run: enable, seeded, pause, resume and so on.
func (r *Recovery) Apply(ctx context.Context, group string, op dr.Operation) (store.Protection, error) {
	return r.o.Store.ChangeProtection(ctx, group, func(s *store.Protection) error { return apply(s, op) })
}

// Cancel asks a run to end. A test failover removes what it made; a planned failover that has not raised the epoch
// gives production back to the source. What cannot be taken back is refused with dr.KindConflict.
func (r *Recovery) Cancel(ctx context.Context, id, reason string) error {
	run, err := r.o.Store.Run(ctx, id)
	if err != nil {
		return err
	}
	switch {
	case run.State.Ended():
		return dr.WithHint(fmt.Errorf("cancel %s: it has %s", run.ID, run.State), dr.KindConflict, "understudy run show "+run.ID)
	case run.Kind == KindCleanup || run.Kind == KindCommit:
		return dr.WithHint(fmt.Errorf("cancel %s: a %s is not cancelled", run.ID, run.Kind), dr.KindConflict, "understudy run watch "+run.ID)
	}
	var res Result
	if len(run.Result) > 0 {
		if err := json.Unmarshal(run.Result, &res); err != nil {
			return fmt.Errorf("cancel %s: %w", run.ID, err)
		}
	}
	if run.Kind != KindTest && !res.Healthy.IsZero() {
		return dr.WithHint(fmt.Errorf("cancel %s: the group is failed over, only its disks are still being copied", run.ID), dr.KindConflict,
			"understudy run watch "+run.ID)
	}
	r.event(ctx, "run.cancel", run, "asked to cancel: "+reason)
	return r.engine.Abort(ctx, run.ID, reason)
}

// Run returns a run, by its ID or a unique beginning of it, and its steps.
func (r *Recovery) Run(ctx context.Context, id string) (store.Run, []store.Step, error) {
	run, err := r.o.Store.Run(ctx, id)
	if err != nil {
		return run, nil, err
	}
	steps, err := r.view.steps(ctx, run.ID)
	return run, steps, err
}

// Result returns a run, by its ID, and what it achieved so far.
func (r *Recovery) Result(ctx context.Context, id string) (store.Run, Result, error) {
	var res Result
	run, err := r.o.Store.Run(ctx, id)
	if err == nil && len(run.Result) > 0 {
		err = json.Unmarshal(run.Result, &res)
	}
	if err != nil {
		return run, res, fmt.Errorf("read result of run %s: %w", id, err)
	}
	return run, res, nil
}

// Runs lists runs, newest first.
func (r *Recovery) Runs(ctx context.Context, f store.RunFilter) ([]store.Run, error) {
	return r.o.Store.Runs(ctx, f)
}

// Watch calls fn with a run and its steps, now and after each change, until the run has ended, ctx ends or fn returns
// an error, which Watch returns.
func (r *Recovery) Watch(ctx context.Context, id string, fn func(store.Run, []store.Step) error) error {
	for {
		changed := r.view.changes()
		run, steps, err := r.Run(ctx, id)
		if err != nil {
			return err
		}
		if err := fn(run, steps); err != nil || run.State.Ended() {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

func (r *Recovery) event(ctx context.Context, kind string, run store.Run, message string) {
	if _, err := r.o.Store.AppendEvent(context.WithoutCancel(ctx), store.Event{Kind: kind, Group: run.Group, Run: run.ID, Message: message}); err != nil {
		r.o.Logger.Error("append event", "kind", kind, "run", run.ID, "error", err)
	}
	r.view.notify()
}

var _ Vault = (*vault.Vault)(nil)
