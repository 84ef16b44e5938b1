package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/dr"
	"understudy/internal/site"
)

// A Step is one operation and what goes wrong while it is carried out. Steps are chosen by chance and can be written
// down and carried out again.
type Step struct {
	Op     string        `json:"op"`
	Group  string        `json:"group"`
	Pick   uint64        `json:"pick,omitempty"` // decides what the operation leaves open
	Faults []Fault       `json:"faults,omitempty"`
	Cut    string        `json:"cut,omitempty"`    // a site that cannot be reached
	Clock  time.Duration `json:"clock,omitempty"`  // by which the clock is stepped
	KillIn time.Duration `json:"killIn,omitempty"` // after which the controller is killed
	Forget bool          `json:"forget,omitempty"` // the owner's change tracking is lost
	Cancel time.Duration `json:"cancel,omitempty"` // after which the run is cancelled
}

func (s Step) String() string {
	text := s.Op + " " + s.Group
	var with []string
	for _, f := range s.Faults {
		with = append(with, f.String())
	}
	if s.Cut != "" {
		with = append(with, s.Cut+" cut off")
	}
	if s.Clock != 0 {
		with = append(with, "clock "+s.Clock.String())
	}
	if s.KillIn != 0 {
		with = append(with, "killed after "+s.KillIn.String())
	}
	if s.Forget {
		with = append(with, "change tracking lost")
	}
	if s.Cancel != 0 {
		with = append(with, "cancelled after "+s.Cancel.String())
	}
	if len(with) > 0 {
		text += " (" + strings.Join(with, "; ") + ")"
	}
	return text
}

// clean reports whether nothing goes wrong in the step, so that it must succeed.
func (s Step) clean() bool {
	return len(s.Faults) == 0 && s.Cut == "" && s.Clock == 0 && s.KillIn == 0 && s.Cancel == 0
}

// An operation is one kind of step.
type operation struct {
	// asks is what the step asks of the protection table; empty when the table knows nothing of it.
	asks dr.Operation
	// do asks for it. It returns the run that it began, if any.
	do func(ctx context.Context, c *client.Client, w *world, g *group, st wire.Status, s Step) (run string, err error)
}

func operations() map[string]operation {
	return map[string]operation{
		"sync": {do: func(ctx context.Context, c *client.Client, w *world, g *group, st wire.Status, _ Step) (string, error) {
			return "", w.sync(ctx, c, g, st.Site)
		}},
		"pause": {asks: dr.OpPause, do: func(ctx context.Context, c *client.Client, _ *world, g *group, _ wire.Status, _ Step) (string, error) {
			return "", c.Pause(ctx, g.name)
		}},
		"resume": {asks: dr.OpResume, do: func(ctx context.Context, c *client.Client, _ *world, g *group, _ wire.Status, _ Step) (string, error) {
			return "", c.Resume(ctx, g.name)
		}},
		"test":            {asks: dr.OpTestFailover, do: failover("test", false)},
		"test-point":      {asks: dr.OpTestFailover, do: failover("test", true)},
		"planned":         {asks: dr.OpPlannedFailover, do: failover("planned", false)},
		"unplanned":       {asks: dr.OpFailover, do: failover("unplanned", false)},
		"unplanned-point": {asks: dr.OpFailover, do: failover("unplanned", true)},
		"change-point":    {asks: dr.OpChangePoint, do: failover("unplanned", true)},
		"drill":           {asks: dr.OpTestFailover, do: drill},
		"commit":          {asks: dr.OpCommit, do: runOf((*client.Client).Commit)},
		"cleanup":         {do: runOf((*client.Client).Cleanup)},
		"reprotect":       {asks: dr.OpReprotect, do: runOf((*client.Client).Reprotect)},
		"failback": {do: func(ctx context.Context, c *client.Client, w *world, g *group, _ wire.Status, s Step) (string, error) {
			w.mu.Lock()
			g.wants = wants{floor: g.floor, planned: true}
			w.mu.Unlock()
			run, err := c.Failback(ctx, g.name, wire.Failback{Kind: "planned", Plan: s.planOf(g)})
			return run.ID, err
		}},
		"resolve-owner":     {do: resolve(func(st wire.Status) string { return st.Site })},
		"resolve-former":    {do: resolve(func(st wire.Status) string { return other(st.Site) })},
		"clone":             {do: cloneMachine},
		"protect-elsewhere": {do: protectElsewhere},
		"guest-off":         {do: guestOff},
		"start-held":        {do: startHeld},
		"restart": {do: func(_ context.Context, _ *client.Client, w *world, _ *group, _ wire.Status, _ Step) (string, error) {
			return "", w.restart(true)
		}},
		"kill": {do: func(_ context.Context, _ *client.Client, w *world, _ *group, _ wire.Status, _ Step) (string, error) {
			w.faults.note("kill", "the controller")
			return "", w.restart(false)
		}},
	}
}

// sync makes a recovery point. When that succeeds, all that was acknowledged before it was asked for is safe.
func (w *world) sync(ctx context.Context, c *client.Client, g *group, at string) error {
	w.mu.Lock()
	head := g.lines[at].head
	w.mu.Unlock()
	if _, err := c.Sync(ctx, g.name, client.SyncQuery{}); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if head.holds(g.floor) {
		g.floor = head
	}
	return nil
}

type runStarter func(c *client.Client, ctx context.Context, group string) (wire.Run, error)

func runOf(f runStarter) func(context.Context, *client.Client, *world, *group, wire.Status, Step) (string, error) {
	return func(ctx context.Context, c *client.Client, _ *world, g *group, _ wire.Status, _ Step) (string, error) {
		run, err := f(c, ctx, g.name)
		return run.ID, err
	}
}

func failover(kind string, chosen bool) func(context.Context, *client.Client, *world, *group, wire.Status, Step) (string, error) {
	return func(ctx context.Context, c *client.Client, w *world, g *group, st wire.Status, s Step) (string, error) {
		f := wire.Failover{Kind: kind, Plan: s.planOf(g)}
		var point dr.RecoveryPoint
		if chosen {
			points, err := c.AllPoints(ctx, g.name, client.ListPointsQuery{})
			if err != nil {
				return "", err
			}
			if len(points) > 0 {
				point = points[s.Pick%uint64(len(points))]
			}
			f.Point = point.ID
		}
		w.mu.Lock()
		if state := dr.State(st.State); state != dr.StateFailedOver && state != dr.StateFailoverFailed {
			g.newest = g.floor
		}
		g.wants = wants{floor: g.newest, planned: kind == "planned"}
		if n, ok := g.captured[point.Time.UnixNano()]; chosen && ok {
			g.wants = wants{exact: n, known: true}
		}
		w.mu.Unlock()
		run, err := c.Failover(ctx, g.name, f)
		return run.ID, err
	}
}

// drill rehearses the group and cleans up in one run.
func drill(ctx context.Context, c *client.Client, w *world, g *group, _ wire.Status, s Step) (string, error) {
	w.mu.Lock()
	g.wants = wants{floor: g.floor}
	w.mu.Unlock()
	run, err := c.RunDrill(ctx, g.name, wire.DrillRequest{Plan: s.planOf(g)})
	return run.ID, err
}

func resolve(keep func(wire.Status) string) func(context.Context, *client.Client, *world, *group, wire.Status, Step) (string, error) {
	return func(ctx context.Context, c *client.Client, _ *world, g *group, st wire.Status, _ Step) (string, error) {
		run, err := c.Resolve(ctx, g.name, wire.Resolve{Keep: keep(st)})
		return run.ID, err
	}
}

// protectElsewhere protects a group anew where it was failed over to. The administrator removes the old machines.
func protectElsewhere(ctx context.Context, c *client.Client, w *world, g *group, st wire.Status, _ Step) (string, error) {
	if st.State != string(dr.StateCommitted) || len(st.SplitBrain) > 0 {
		return "", dr.WithHint(fmt.Errorf("%s is %s", g.name, st.State), dr.KindConflict, "commit first")
	}
	g.site = st.Site
	if err := c.Unprotect(ctx, g.name); err != nil {
		return "", err
	}
	old := w.sites[other(st.Site)]
	w.mu.Lock()
	for _, m := range g.machines {
		old.RemoveMachine(m)
	}
	g.lines[old.name].live = false
	w.mu.Unlock()
	return "", w.protect(ctx, g, st.Site)
}

// guestOff ends a machine as a crash of its hypervisor does. It is started again when the step is over.
func guestOff(ctx context.Context, _ *client.Client, w *world, g *group, st wire.Status, s Step) (string, error) {
	m := g.machines[s.Pick%uint64(len(g.machines))]
	w.faults.note("guest", m+" killed at "+st.Site)
	w.mu.Lock()
	g.off[st.Site+"/"+m] = true
	w.mu.Unlock()
	return "", w.sites[st.Site].Power(ctx, m, site.PowerKill)
}

// startHeld tries to start a machine where its group no longer is, which must be refused.
func startHeld(ctx context.Context, c *client.Client, w *world, g *group, st wire.Status, s Step) (string, error) {
	m := g.machines[s.Pick%uint64(len(g.machines))]
	o := other(st.Site)
	err := c.PowerMachine(ctx, o, m, wire.Power{Action: "start"})
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, held := w.sites[o].Held(m); err == nil && held {
		w.violateLocked("%s was started at %s although it is held there", m, o)
	}
	return "", err
}

// choose picks the next step by where its group is.
func choose(r *rand.Rand, w *world, status map[string]wire.Status) Step {
	g := w.groups[r.IntN(len(w.groups))]
	st := status[g.name]
	s := Step{Group: g.name, Pick: uint64(r.Uint32()), Op: chooseOp(r, st)}
	if r.IntN(4) == 0 {
		return s
	}
	for range 1 + r.IntN(2) {
		s.disturb(r, st)
	}
	return s
}

func chooseOp(r *rand.Rand, st wire.Status) string {
	likely := map[string]int{"sync": 3, "kill": 1, "restart": 1, "guest-off": 1}
	switch {
	case len(st.SplitBrain) > 0:
		likely = map[string]int{"resolve-owner": 6, "resolve-former": 5, "sync": 1, "kill": 1, "commit": 1}
	case st.Test != "" && st.Test != string(dr.TestNone):
		likely = map[string]int{"cleanup": 8, "sync": 1, "unplanned": 1, "kill": 1, "pause": 1}
	default:
		switch dr.State(st.State) {
		case dr.StateProtected:
			likely = map[string]int{"sync": 3, "planned": 5, "unplanned": 4, "unplanned-point": 1, "test": 3, "test-point": 1, "drill": 3, "pause": 1,
				"clone": 2, "failback": 3, "guest-off": 1, "kill": 1, "restart": 1}
		case dr.StatePaused:
			likely = map[string]int{"resume": 5, "planned": 2, "unplanned": 2, "test": 1, "drill": 1, "kill": 1, "restart": 1}
		case dr.StatePlannedFailoverFailed:
			likely = map[string]int{"planned": 3, "unplanned": 2, "kill": 1}
		case dr.StateFailoverFailed:
			likely = map[string]int{"unplanned": 5, "unplanned-point": 1, "cleanup": 1, "kill": 1}
		case dr.StateFailedOver:
			likely = map[string]int{"commit": 6, "change-point": 2, "start-held": 1, "kill": 1, "guest-off": 1}
		case dr.StateCommitted:
			likely = map[string]int{"reprotect": 8, "protect-elsewhere": 1, "start-held": 1, "kill": 1, "clone": 1}
		case dr.StateReprotectFailed:
			likely = map[string]int{"reprotect": 6, "unplanned": 1, "kill": 1}
		case dr.StateResolveFailed:
			likely = map[string]int{"resolve-former": 4, "resolve-owner": 4, "kill": 1}
		}
	}
	if r.IntN(12) == 0 { // most of these are refused
		for op := range operations() {
			likely[op]++
		}
	}
	total := 0
	ops := make([]string, 0, len(likely))
	for op, n := range likely {
		total += n
		ops = append(ops, op)
	}
	slices.Sort(ops)
	at := r.IntN(total)
	for _, op := range ops {
		if at -= likely[op]; at < 0 {
			return op
		}
	}
	return "sync"
}

// disturb adds something that goes wrong.
func (s *Step) disturb(r *rand.Rand, st wire.Status) {
	millis := func(n int) time.Duration { return time.Duration(1+r.IntN(n)) * time.Millisecond }
	switch r.IntN(14) {
	case 0:
		s.Cut = []string{st.Site, st.Site, st.Target}[r.IntN(3)]
	case 1:
		s.Clock = []time.Duration{-time.Hour, -30 * time.Second, -time.Second, 5 * time.Second, 2 * time.Minute, 3 * time.Hour}[r.IntN(6)]
	case 2, 5:
		s.KillIn = millis(400)
	case 3:
		s.Forget = true
	case 4:
		s.Cancel = millis(250)
	default:
		s.Faults = append(s.Faults, chooseFault(r, s.Op, st))
	}
}

// chooseFault picks a call that goes wrong: mostly one that the operation makes.
func chooseFault(r *rand.Rand, op string, st wire.Status) Fault {
	f := Fault{Effect: []Effect{Fail, Fail, Lose, Lose, Slow, KillBefore, KillAfter, KillAfter, StopAfter}[r.IntN(9)], Nth: 1 + r.IntN(3)}
	pick := func(ops ...string) string { return ops[r.IntN(len(ops))] }
	here := []string{"machines", "capture", "capture commit", "capture abort", "capture read", "capture changes"}
	var there []string
	switch op {
	case "planned", "failback":
		here = append(here, "power", "power", "power", "fence", "fence", "fence")
		there = []string{"machines", "provision", "power", "power", "probe", "hydrate", "open disk", "disk write", "disk flush", "disk close", "fence"}
	case "unplanned", "unplanned-point", "change-point":
		here = append(here, "fence", "fence", "fence", "fence")
		there = []string{"machines", "provision", "power", "power", "probe", "hydrate", "delete"}
	case "test", "test-point", "cleanup", "drill":
		there = []string{"machines", "provision", "power", "probe", "delete", "screenshot", "console"}
	case "reprotect", "resolve-owner", "resolve-former", "clone":
		here = append(here, "open disk", "disk read", "disk write", "disk flush", "disk close", "preserve", "settle", "power", "fence", "delete")
		there = here
	}
	switch n := r.IntN(8); {
	case n < 2:
		f.To, f.Op = storeName, pick("create", "create", "put", "put", "put", "read", "list", "get", "stat", "delete")
	case n < 5 && len(there) > 0:
		f.To, f.Op = st.Target, pick(there...)
	default:
		f.To, f.Op = st.Site, pick(here...)
	}
	if (f.Effect == Fail || f.Effect == Lose) && r.IntN(3) == 0 {
		f.Times = 2 + r.IntN(8)
	}
	return f
}
