// Package replicate turns captures into recovery points. A Cycler runs one cycle of a group: capture, find what
// changed, write it to the vault as one segment, tell the site that it is kept. A Scheduler runs cycles of many groups
// so that each meets its recovery point objective.
//
// A cycle may be killed at any step. The order of its durable steps makes the next cycle find a consistent state:
//
//  1. the site starts tracking under the new capture's ID and keeps the old tracking;
//  2. the hash maps' changes are staged under that ID;
//  3. the segment is created in the vault: the recovery point now exists;
//  4. the hash maps apply what was staged;
//  5. the site drops the old tracking.
//
// The next cycle asks the vault for its newest capture ID and gives it to the hash maps and to the site, which go on
// from there: forward if the vault has the capture, back if not.
//
// With a spool, step 3 creates the segment there and the next cycle asks the spool; the vault gets it after step 5, or
// when it can be reached again. The recovery point exists only then.
package replicate

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/replicate/hashmap"
	"understudy/internal/site"
	"understudy/internal/vault"
)

// Kinds of cycle.
const (
	KindSeed      = "seed"      // a first or new full copy
	KindDelta     = "delta"     // what the site's tracking reported
	KindResync    = "resync"    // everything was compared, the difference was sent
	KindUnchanged = "unchanged" // nothing to send
)

// A Cycler runs replication cycles of groups from one site to one vault.
type Cycler struct {
	Driver site.Driver
	Vault  *vault.Vault
	Spool  *vault.Spool // of the vault; nil for none
	Dir    string       // local state: hash maps and seed journals, one folder per group
	Now    func() time.Time
	Logger *slog.Logger
	// Describe, when set, adds to the description of captured machines what the site does not know of them. It is called
	// once per capture, and must be quick.
	Describe func([]dr.Machine) []dr.Machine
}

// CycleOptions are the options of one cycle.
type CycleOptions struct {
	// Freeze asks for file-system consistency, bounded by FreezeTimeout, or for application consistency where machines of
	// the group have hooks.
	Freeze        bool
	FreezeTimeout time.Duration
	// Progress, when set, is called now and then, from any goroutine.
	Progress func(Progress)
	// Drain is how long what waits in the spool may keep the cycle from its end: more is sent by the next one.
	Drain time.Duration
}

// Progress says how far a cycle is.
type Progress struct {
	Phase  string // capturing, comparing, sending, committing
	Done   int64  // bytes looked at
	Total  int64  // bytes to look at
	Stored int64  // bytes sent to the vault
}

// Result is what a cycle did.
type Result struct {
	Kind    string            `json:"kind"`
	Point   *dr.RecoveryPoint `json:"point,omitempty"` // nil when nothing changed
	Instant time.Time         `json:"instant"`         // the newest state that can be recovered is the one of this time
	Read    int64             `json:"read"`            // bytes read from the source
	Changed int64             `json:"changed"`         // bytes that differed
	Stored  int64             `json:"stored"`          // bytes written to the vault
	Paused  time.Duration     `json:"paused"`          // how long the guests stood still
	Skew    time.Duration     `json:"skew,omitempty"`  // between the disks, where they are not of one instant
	Took    time.Duration     `json:"took"`
	Reason  string            `json:"reason,omitempty"` // why everything was compared or sent
	// Consistency is what the state of Instant promises, and Shortfall why that is less than was asked for.
	Consistency dr.Consistency `json:"consistency,omitempty"`
	Shortfall   string         `json:"shortfall,omitempty"`
	// Spooled is how many captures wait in the spool at the end, that of this cycle included if it made a Point: they are
	// no recovery points yet. InVault is the newest that came from there.
	Spooled int               `json:"spooled,omitempty"`
	InVault *dr.RecoveryPoint `json:"inVault,omitempty"`
}

// KnownGood is the time whose state can be recovered from the vault after the cycle, and the newest point there; zero and
// empty where the cycle changed nothing in that.
func (r Result) KnownGood() (at time.Time, point string) {
	switch {
	case r.Spooled == 0 && r.Point != nil:
		return r.Instant, r.Point.ID
	case r.Spooled == 0 && r.InVault != nil:
		return r.Instant, r.InVault.ID
	case r.Spooled == 0:
		return r.Instant, ""
	case r.InVault != nil:
		return r.InVault.Time, r.InVault.ID
	}
	return time.Time{}, ""
}

// Cycle captures the group once. Without an error the state of Result.Instant can be recovered from the vault, or waits in
// the spool. With a spool the lease may be nil: the vault cannot be reached.
func (c *Cycler) Cycle(ctx context.Context, lease *vault.Lease, g dr.Group, o CycleOptions) (Result, error) {
	began := c.Now()
	run := c.cycle
	if c.Spool != nil {
		run = c.around
	}
	res, err := run(ctx, lease, g, o)
	res.Took = c.Now().Sub(began)
	if err != nil {
		return res, fmt.Errorf("replicate %s: %w", g.Name, err)
	}
	return res, nil
}

func (c *Cycler) cycle(ctx context.Context, lease *vault.Lease, g dr.Group, o CycleOptions) (res Result, err error) {
	head, lease, err := c.newestHead(ctx, lease, g.Name)
	if err != nil && dr.KindOf(err) != dr.KindNotFound {
		return res, fmt.Errorf("find the newest point: %w", err)
	}
	id, err := newCaptureID()
	if err != nil {
		return res, err
	}
	cy := &cycle{Cycler: c, group: g, opts: o, id: id, head: head, lease: lease}
	cy.report("capturing")
	names := make([]string, len(g.Machines))
	for i, m := range g.Machines {
		names[i] = m.Name
	}
	req := site.CaptureRequest{Group: g.Name, Machines: names, ID: id, Since: head.CaptureID}
	if o.Freeze {
		req.Freeze, req.FreezeTimeout, req.Hooks = true, o.FreezeTimeout, hooks(g)
	}
	view, err := c.Driver.Capture(ctx, req)
	if err != nil {
		return res, fmt.Errorf("capture: %w", err)
	}
	cy.view, cy.machines = view, view.Machines()
	if c.Describe != nil {
		cy.machines = c.Describe(slices.Clone(cy.machines))
	}
	res, err = cy.run(ctx)
	res.Instant, res.Paused, res.Consistency = view.Time(), view.Paused(), view.Consistency()
	res.Skew = skew(view)
	if v, ok := view.(site.Shortfaller); ok {
		if short := v.Shortfall(); short != nil {
			res.Shortfall = short.Error()
		}
	}
	// What was stored must be dropped from tracking, and what was not must be put back, even when the caller gave up.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if err == nil && res.Point != nil {
		if cerr := view.Commit(end); cerr != nil {
			// The point exists: the site goes forward at the next capture.
			c.Logger.Warn("commit capture", "group", g.Name, "capture", id, "err", cerr)
		}
		return res, nil
	}
	if aerr := view.Abort(end); aerr != nil {
		aerr = fmt.Errorf("give up capture: %w", aerr)
		if err != nil {
			return res, errors.Join(err, aerr)
		}
		// Nothing had changed and nothing is lost: the site folds its tracking together at the next capture.
		c.Logger.Warn("abort capture", "group", g.Name, "capture", id, "err", aerr)
	}
	return res, err
}

// hooks are those of a group's machines, by machine.
func hooks(g dr.Group) map[string]dr.Hooks {
	all := map[string]dr.Hooks{}
	for _, m := range g.Machines {
		if len(m.Hooks.Before)+len(m.Hooks.After) > 0 {
			all[m.Name] = m.Hooks
		}
	}
	return all
}

// endTimeout bounds how long the end of a capture may take at the site.
const endTimeout = 30 * time.Second

func newCaptureID() (string, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return hex.EncodeToString(b[:]), nil
}

// cycle is the state of one cycle under way.
type cycle struct {
	*Cycler
	group dr.Group
	opts  CycleOptions
	id    string
	head  vault.Head
	lease *vault.Lease
	view  site.Capture
	// machines are those of the view, as described in full.
	machines []dr.Machine
	maps     map[dr.DiskID]*hashmap.Map
	// rebuilt says why hash maps had to be made anew from the vault.
	rebuilt string
	meter   meter

	comparing sync.RWMutex // held shared while hash maps are compared with
	durableMu sync.Mutex
	durable   []map[dr.DiskID][]dr.Extent // parts of a seed that the hash maps have not been told of
}

func (cy *cycle) report(phase string) {
	cy.meter.phase.Store(&phase)
	cy.publish()
}

func (cy *cycle) publish() {
	if cy.opts.Progress != nil {
		cy.opts.Progress(cy.meter.progress())
	}
}

// run sends what changed and commits it. With an error nothing was committed.
func (cy *cycle) run(ctx context.Context) (res Result, err error) {
	seed, err := cy.openMaps(ctx)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, cy.closeMaps()) }()
	work, reason, err := cy.plan(ctx)
	if err != nil {
		return res, err
	}
	res.Kind, res.Reason = KindDelta, reason
	if reason != "" {
		res.Kind = KindResync
	}
	if seed {
		res.Kind = KindSeed
	}
	w, err := cy.begin(ctx, seed)
	if err != nil {
		return res, err
	}
	res, err = cy.send(ctx, w, work, res)
	if err != nil {
		// Parts of a seed that became durable by now count when it goes on.
		return res, errors.Join(err, w.Abort(), cy.markDurable(), cy.discardMaps())
	}
	if !seed && w.Changed() == 0 && cy.sameDescription() && !cy.promisesMore() {
		res.Kind = KindUnchanged
		return res, errors.Join(w.Abort(), cy.discardMaps(), cy.unchanged())
	}
	return cy.commit(ctx, w, res)
}

// skew is how far the disks of a view are apart in time.
func skew(view site.Capture) time.Duration {
	if v, ok := view.(site.Skewed); ok {
		return v.Skew()
	}
	return 0
}

// promisesMore reports whether the view is more consistent than the newest point, which then may not stand for it.
func (cy *cycle) promisesMore() bool {
	return cy.view.Consistency().Rank() > cy.head.Point.Kind.Rank()
}

func (cy *cycle) begin(ctx context.Context, seed bool) (*vault.Writer, error) {
	spec := vault.Spec{
		CaptureID: cy.id, Time: cy.view.Time(), Kind: cy.view.Consistency(), Skew: skew(cy.view), Machines: cy.machines,
	}
	if !seed {
		w, err := cy.beginDelta(ctx, spec)
		if err != nil {
			return nil, fmt.Errorf("begin delta: %w", err)
		}
		return w, nil
	}
	if err := cy.bypass(ctx); err != nil {
		return nil, fmt.Errorf("begin seed: %w", err)
	}
	w, err := cy.Vault.BeginSeed(ctx, cy.lease, spec, cy.journal(), cy.partDurable)
	if err != nil {
		return nil, fmt.Errorf("begin seed: %w", err)
	}
	if err := cy.openSeedMaps(w.Resumed()); err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	return w, nil
}

// unchanged checks that the view stood still while nothing was found in it, and lets the site remember that.
func (cy *cycle) unchanged() error {
	if v, ok := cy.view.(site.Verifier); ok {
		if err := v.Verify(); err != nil {
			return err
		}
	}
	if c, ok := cy.view.(site.Comparer); ok {
		if err := c.Unchanged(); err != nil {
			cy.Logger.Warn("remember that nothing changed", "group", cy.group.Name, "err", err)
		}
	}
	return nil
}

func (cy *cycle) commit(ctx context.Context, w *vault.Writer, res Result) (Result, error) {
	cy.report("committing")
	if v, ok := cy.view.(site.Verifier); ok {
		if err := v.Verify(); err != nil {
			return res, errors.Join(err, w.Abort(), cy.discardMaps())
		}
	}
	for id, m := range cy.maps {
		if err := m.Stage(cy.id); err != nil {
			return res, errors.Join(fmt.Errorf("stage hash map of %s: %w", id, err), w.Abort(), cy.discardMaps())
		}
	}
	point, err := w.Commit(ctx)
	if err != nil {
		if point, err = cy.committedAfterAll(ctx, err); err != nil {
			return res, errors.Join(fmt.Errorf("commit: %w", err), w.Abort(), cy.discardMaps())
		}
	}
	res.Point, res.Changed, res.Stored = &point, w.Changed(), w.Stored()
	for id, m := range cy.maps {
		if err := m.Apply(); err != nil {
			// The point exists. The next cycle applies what was staged, or rebuilds the map.
			cy.Logger.Warn("apply hash map", "disk", id.String(), "err", err)
		}
	}
	if err := cy.rememberDescription(); err != nil {
		cy.Logger.Warn("remember machines", "group", cy.group.Name, "err", err)
	}
	return res, nil
}

// committedAfterAll looks whether a commit whose answer was an error took place all the same.
func (cy *cycle) committedAfterAll(ctx context.Context, cause error) (dr.RecoveryPoint, error) {
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	head, _, err := cy.newestHead(look, cy.lease, cy.group.Name)
	if err == nil && head.CaptureID == cy.id {
		return head.Point, nil
	}
	return dr.RecoveryPoint{}, cause
}
