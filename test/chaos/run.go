package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/dr"
	"understudy/internal/site"
)

// faultsFor is how long what was made to fail goes on failing.
const faultsFor = 1500 * time.Millisecond

// An outcome is what became of a step.
type outcome struct {
	refused bool
	err     error
	run     wire.Run
	hit     []string
	took    time.Duration
}

func (o outcome) String() string {
	text := "done"
	switch {
	case o.refused:
		text = "refused"
	case o.err != nil:
		text = "failed: " + firstLine(o.err.Error())
	case o.run.ID != "":
		text = o.run.State
		if o.run.Error != "" {
			text += ": " + firstLine(o.run.Error)
		}
	}
	if len(o.hit) > 0 {
		text += " [" + strings.Join(o.hit, ", ") + "]"
	}
	return fmt.Sprintf("%s, %.1f s", text, o.took.Seconds())
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s[:min(len(s), 200)]
}

// do carries out a step: what goes wrong begins, the operation is asked for and goes on until it is over or has been
// troubled long enough, then everything is mended, comes to rest, and is checked.
func (w *world) do(s Step, before map[string]wire.Status) (outcome, map[string]wire.Status, error) {
	began := time.Now()
	g := w.groups[slices.IndexFunc(w.groups, func(g *group) bool { return g.name == s.Group })]
	op, ok := operations()[s.Op]
	if !ok {
		return outcome{}, nil, fmt.Errorf("unknown operation %q", s.Op)
	}
	w.faults.taken()
	if err := w.disturb(s, before[s.Group]); err != nil {
		return outcome{}, nil, err
	}
	var out outcome
	ctx, stop := context.WithTimeout(context.Background(), apiTimeout)
	if !s.clean() {
		stop()
		ctx, stop = context.WithTimeout(context.Background(), faultsFor)
	}
	out.run.ID, out.err = op.do(ctx, w.proc.client, w, g, before[s.Group], s)
	stop()
	kind := dr.KindOf(out.err)
	out.refused = out.err != nil && (kind == dr.KindConflict || kind == dr.KindFenced || kind == dr.KindNotFound || kind == dr.KindInvalid)
	w.judgeAnswer(op, s, before[s.Group], out)
	if out.run.ID != "" {
		w.follow(s, out.run.ID, began)
	}
	w.faults.heal()
	if w.later != nil {
		w.later.Stop()
	}
	if err := w.startAgain(g); err != nil {
		return out, nil, err
	}
	after, err := w.rest()
	if err != nil {
		return out, nil, err
	}
	ctx, stop = context.WithTimeout(context.Background(), apiTimeout)
	defer stop()
	if out.run.ID != "" {
		if out.run, err = w.proc.client.ShowRun(ctx, out.run.ID); err != nil {
			w.violate("run %s is not known: %v", out.run.ID, err)
		}
		if out.run.Kind == "clone" {
			if out.run, err = w.checkClone(ctx, g, out.run); err != nil {
				w.violate("%v", err)
			}
		}
		if s.clean() && out.run.State != "succeeded" {
			w.violate("%s %s although nothing went wrong: %s", s, out.run.State, out.run.Error)
		}
	}
	out.hit, out.took = w.faults.taken(), time.Since(began)
	return out, after, w.check(after)
}

// judgeAnswer compares the controller's answer with the table of protection.
func (w *world) judgeAnswer(op operation, s Step, st wire.Status, out outcome) {
	if op.asks == "" || !s.clean() {
		return
	}
	_, err := dr.Protection{State: dr.State(st.State), Test: dr.TestState(st.Test), SplitBrain: len(st.SplitBrain) > 0}.Next(op.asks)
	switch {
	case err == nil && out.err != nil:
		w.violate("%s of a group that is %s was refused: %v", s, st.State, out.err)
	case err != nil && out.err == nil && !(s.Op == "pause" && st.State == string(dr.StatePaused)) && !strings.HasPrefix(s.Op, "unplanned") &&
		s.Op != "change-point" && s.Op != "resume":
		w.violate("%s of a group that is %s was accepted, which must not be: %v", s, st.State, err)
	}
}

// disturb lets everything begin that goes wrong in a step, but for what comes later.
func (w *world) disturb(s Step, st wire.Status) error {
	excuse := s.Cut != ""
	for _, f := range s.Faults {
		excuse = excuse || f.Op == "fence"
	}
	w.mu.Lock()
	for _, g := range w.groups {
		g.excused = excuse
		if s.Forget {
			for _, m := range g.machines {
				w.sites[st.Site].LoseTracking(dr.DiskID{Machine: m, Disk: diskName})
			}
		}
	}
	w.mu.Unlock()
	if s.Forget {
		w.faults.note("forget", "the tracking at "+st.Site)
	}
	if s.Cut != "" {
		w.faults.setCut(s.Cut)
	}
	w.faults.arm(s.Faults)
	if s.KillIn != 0 {
		p := w.proc
		w.later = time.AfterFunc(s.KillIn, func() {
			if p.alive() {
				w.faults.note("kill", "the controller")
				p.kill()
			}
		})
	}
	if s.Clock != 0 {
		w.faults.note("clock", s.Clock.String())
		return w.step(s.Clock)
	}
	return nil
}

// follow watches a run until it is over or has been troubled long enough, and cancels it when that is wanted.
func (w *world) follow(s Step, id string, began time.Time) {
	cancelled := s.Cancel == 0
	for time.Since(began) < faultsFor || s.clean() && time.Since(began) < settleIn {
		if !w.proc.alive() {
			if !w.proc.killed {
				return
			}
			if err := w.restart(false); err != nil {
				return // rest reports it
			}
		}
		ctx, stop := context.WithTimeout(context.Background(), faultsFor)
		run, err := w.proc.client.ShowRun(ctx, id)
		if err == nil && !cancelled && time.Since(began) > s.Cancel {
			cancelled = true
			if w.proc.client.CancelRun(ctx, id) == nil {
				w.faults.note("cancel", run.Kind)
			}
		}
		if err == nil && run.State == "waiting" {
			_ = w.answer(ctx, w.proc.client, id, s.clean()) // it is asked again
		}
		stop()
		if err == nil && run.Over() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// startAgain has the administrator start the machines that were ended on purpose.
func (w *world) startAgain(g *group) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for machine := range g.off {
		at, name, _ := strings.Cut(machine, "/")
		delete(g.off, machine)
		p := w.sites[at]
		if _, held := p.Held(name); held || w.powers(p)[name] != dr.PowerOff {
			continue
		}
		if err := p.Power(context.Background(), name, site.PowerStart); err != nil {
			return err
		}
	}
	return nil
}

// An episode is a life of one world.
type episode struct {
	seed       uint64
	steps      []Step
	outcomes   []string
	violations []string
	faults     int
	met        map[Effect]int
	runs       map[string]int
	acked      int
	compared   int
}

// runEpisode lives until so many steps were done or something was violated.
// With a script it does that.
func runEpisode(dir string, seed uint64, steps int, script []Step, say io.Writer) (e episode, err error) {
	e = episode{seed: seed}
	w, err := newWorld(dir, seed)
	if err != nil {
		return e, fmt.Errorf("make a world: %w", err)
	}
	defer func() {
		e.violations, e.met, e.faults = w.violated(), w.faults.met, w.faults.total()
		e.acked, e.compared = w.acked, w.compared
		if cerr := w.close(); err == nil {
			err = cerr
		}
	}()
	status, err := w.rest()
	if err != nil {
		return e, err
	}
	r := newRandom(seed)
	for i := 0; i < steps && len(w.violated()) == 0; i++ {
		var s Step
		if script != nil {
			if i >= len(script) {
				break
			}
			s = script[i]
		} else {
			s = choose(r, w, status)
		}
		e.steps = append(e.steps, s)
		from := status[s.Group].State
		var out outcome
		out, status, err = w.do(s, status)
		line := fmt.Sprintf("%3d %-10s %s: %s", len(e.steps), from, s, out)
		if status != nil {
			line += " -> " + status[s.Group].State
		}
		e.outcomes = append(e.outcomes, line)
		fmt.Fprintln(say, line)
		if err != nil {
			if len(w.violated()) > 0 {
				err = nil
			}
			break
		}
	}
	e.runs = w.runs()
	return e, err
}

// runs counts the runs by kind and how they ended.
func (w *world) runs() map[string]int {
	n := map[string]int{}
	if !w.proc.alive() {
		return n
	}
	ctx, stop := context.WithTimeout(context.Background(), apiTimeout)
	defer stop()
	list, err := w.proc.client.ListRuns(ctx, client.ListRunsQuery{Limit: 1000})
	if err != nil {
		return n
	}
	for _, run := range list.Items {
		n[run.Kind+" "+run.State]++
	}
	return n
}
