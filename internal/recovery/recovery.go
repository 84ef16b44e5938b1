// Package recovery brings groups of machines up from their recovery points: test failovers that are cleaned up again,
// planned and unplanned failovers, commit. Each is a run: steps on the durable engine that go on after the death of the
// controller, with the disks they boot from served before anything else. It also keeps the former owner's machines from
// coming back to life (Reconcile).
package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/grant"
	"understudy/internal/recovery/drill"
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
	ChangedBetween(ctx context.Context, group, from, to string) (map[dr.DiskID][]dr.Extent, bool, error)
}

// A Replicator makes recovery points of groups. Its methods are idempotent.
type Replicator interface {
	// Pause ends the cycle under way and starts no other.
	Pause(ctx context.Context, group string) error
	// Resume lets cycles go on.
	Resume(ctx context.Context, group string) error
	// Final makes a recovery point now, also of a paused group; when its machines are stopped it holds everything. When
	// nothing changed since the newest point it returns that.
	Final(ctx context.Context, group string) (dr.RecoveryPoint, error)
}

// Kinds of run.
const (
	KindTest      = "test-failover"
	KindFailover  = "failover"
	KindPlanned   = "planned-failover"
	KindCommit    = "commit"
	KindCleanup   = "cleanup"
	KindReprotect = "reprotect"
	KindResolve   = "resolve"
	KindDrill     = "drill" // a test failover that takes evidence and cleans up after itself
)

// Options of a Recovery.
type Options struct {
	Store      *store.Store
	EnginePath string // SQLite file of the engine
	RunDir     string // for sockets; its path must be short (a socket's path is at most 107 bytes)

	Sites      func(ctx context.Context, name string) (site.Driver, error)
	Vaults     func(ctx context.Context, name string) (Vault, error)
	Replicator Replicator
	Extensions Extensions // for plans that restore extensions; may be nil

	Holder string // names this controller in vaults; the same after a restart
	Now    func() time.Time
	Logger *slog.Logger
	// Lost is called when another controller may have taken over: the program must end.
	Lost func(error)

	// LeaseTTL bounds how long a controller that was replaced can go on; 15 s when 0.
	LeaseTTL time.Duration
	// ShutdownGrace is how long a guest may take to shut down before it is forced; 1 minute when 0.
	ShutdownGrace time.Duration
	// EvidenceDir is the folder where drills keep their evidence; none is kept when empty.
	EvidenceDir string
	// Replication tells how replication of a group stands, for drills to measure. May be nil.
	Replication func(ctx context.Context, group string) (drill.Sample, error)

	// CanRun says why machines cannot be recovered to a site, or nil. May be nil.
	CanRun func(ctx context.Context, site string) error

	// SiteTimeout bounds what is asked of a site that may be down; 15 s when 0.
	SiteTimeout time.Duration

	// GrantTTL is how long a copy's access to a disk lasts unless it is renewed; 10 minutes when 0.
	GrantTTL time.Duration
}

// A kind of run.
type kind struct {
	// prepare completes the input of a request. It returns the change of the group's protection that goes with the
	// beginning of the run, in one transaction with it, or nil; a state that forbids the run is refused by either.
	prepare func(ctx context.Context, q Request, p *Input, prot store.Protection) (func(*store.Protection) error, error)
	// do carries the run out. It is called again after a restart: completed steps return what they returned before.
	do func(*engine.Run, Input) (*Result, error)
	// settle moves the group's protection to where the outcome leaves it.
	settle func(outcome, *store.Protection) error
	// groupless says that the run is of no group, so that there is no protection to change or settle.
	groupless bool
}

// A Recovery carries out runs.
type Recovery struct {
	o       Options
	engine  *engine.Engine
	kinds   map[string]kind
	exports *exports
	view    *view
	fencing locks

	sources  *sources       // of copies
	grants   *grant.Manager // by which copies read and write; from Open on
	resuming sync.Mutex     // held while it is decided what becomes of a copy that failed
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
	if o.GrantTTL == 0 {
		o.GrantTTL = 10 * time.Minute
	}
	r := &Recovery{o: o, sources: &sources{o: o, open: map[string]*source{}}}
	r.view = newView(o)
	r.exports = &exports{o: o, served: map[string]*served{}}
	r.engine = engine.New(engine.Options{
		Path: o.EnginePath, Logger: o.Logger, Lost: o.Lost, Observe: r.view.observe, Finish: r.finish, LeaseTTL: o.LeaseTTL,
	})
	r.kinds = map[string]kind{
		KindExtensions: r.extensionsKind(),
		KindDrill:      r.drillKind(),
		KindTest:       r.testKind(), KindFailover: r.failoverKind(), KindPlanned: r.plannedKind(), KindCommit: r.commitKind(),
		KindClone: r.cloneKind(), KindMove: r.moveKind(),
		KindCleanup: r.cleanupKind(), KindReprotect: r.reprotectKind(), KindResolve: r.resolveKind(),
	}
	for name, k := range r.kinds {
		r.engine.Register(name, interpret(k.do))
	}
	return r
}

func interpret(f func(*engine.Run, Input) (*Result, error)) engine.Interpreter {
	return func(run *engine.Run) (any, error) {
		var p Input
		if err := json.Unmarshal(run.Input, &p); err != nil {
			return nil, fmt.Errorf("read input: %w", err)
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
	if err := r.openGrants(ctx); err != nil {
		return errors.Join(err, r.exports.close())
	}
	if err := r.engine.Open(ctx); err != nil {
		return errors.Join(err, r.grants.Close(), r.exports.close())
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

// What is kept of runs that have ended: the engine's record for a month, what people see of them for a year, and of
// each group's newest for good.
const (
	runsKept      = 30 * 24 * time.Hour
	historyKept   = 365 * 24 * time.Hour
	historyAlways = 100
)

// Tidy lets go of what is not needed any more. The controller calls it now and then.
func (r *Recovery) Tidy(ctx context.Context) error {
	n, err := r.engine.ForgetEnded(ctx, r.o.Now().Add(-runsKept))
	if n > 0 {
		r.o.Logger.Info("forgot runs that ended long ago", "runs", n)
	}
	pruned, e := r.o.Store.PruneRuns(ctx, r.o.Now().Add(-historyKept), historyAlways)
	if len(pruned) > 0 {
		r.o.Logger.Info("removed old runs from the history", "runs", len(pruned))
	}
	_, old := r.o.Store.PruneGrants(ctx, r.o.Now().Add(-historyKept))
	return errors.Join(err, e, r.sweepEvidence(ctx), r.sweepScratch(ctx), old, r.Sweep(ctx))
}

// Close interrupts runs, which go on after the next Open, and stops serving.
func (r *Recovery) Close() error {
	return errors.Join(r.engine.Close(), r.grants.Close(), r.exports.close())
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

// named puts the name of a group into the commands of a hint.
func named(err error, group string) error {
	if hint := dr.Hint(err); strings.Contains(hint, "GROUP") {
		return dr.WithHint(err, dr.KindOf(err), strings.ReplaceAll(hint, "GROUP", group))
	}
	return err
}

// Apply records an operation on a group's protection that is no run: enable, seeded, pause, resume and so on.
func (r *Recovery) Apply(ctx context.Context, group string, op dr.Operation) (store.Protection, error) {
	return r.o.Store.ChangeProtection(ctx, group, func(s *store.Protection) error { return named(apply(s, op), group) })
}

func (r *Recovery) event(ctx context.Context, kind string, run store.Run, message string) {
	if _, err := r.o.Store.AppendEvent(context.WithoutCancel(ctx), store.Event{Kind: kind, Group: run.Group, Run: run.ID, Message: message}); err != nil {
		r.o.Logger.Error("append event", "kind", kind, "run", run.ID, "error", err)
	}
	r.view.notify()
}

var _ Vault = (*vault.Vault)(nil)
