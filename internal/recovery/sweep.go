package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"understudy/internal/dr"
	"understudy/internal/store"
)

// resumable is how long what a failed copy left is kept for `run resume`.
const resumable = 7 * 24 * time.Hour

// discarded is what CleanedBy says of a failed run that nobody wants to go on with.
const discarded = "discarded"

// Resume begins a run that goes on with a copy that failed. What that copied stays copied.
func (r *Recovery) Resume(ctx context.Context, id, by string) (store.Run, error) {
	r.resuming.Lock()
	defer r.resuming.Unlock()
	run, p, err := r.inputOf(ctx, id)
	if err != nil {
		return run, err
	}
	fail := func(err error) (store.Run, error) { return run, fmt.Errorf("resume %s: %w", run.ID, err) }
	switch {
	case !copiesMachine(run.Kind):
		return fail(dr.WithHint(fmt.Errorf("a %s is not resumed", run.Kind), dr.KindConflict, "start it again, or see its state: understudy run show "+run.ID))
	case !run.State.Ended():
		return fail(dr.WithHint(errors.New("it has not ended, and goes on by itself"), dr.KindConflict, "understudy run watch "+run.ID))
	case run.State != store.RunFailed:
		how := "it has succeeded"
		if run.State == store.RunCancelled {
			how = "it was cancelled"
		}
		return fail(dr.WithHint(fmt.Errorf("%s, there is nothing to go on with", how), dr.KindConflict, "understudy run show "+run.ID))
	case run.CleanedBy == discarded:
		return fail(dr.WithHint(errors.New("what it copied was removed"), dr.KindConflict, "begin again: understudy "+run.Kind))
	case run.CleanedBy != "":
		return fail(dr.WithHint(fmt.Errorf("run %s went on with it", run.CleanedBy), dr.KindConflict, "understudy run show "+run.CleanedBy))
	}
	spec := *p.Clone
	var res Result
	if len(run.Result) > 0 && json.Unmarshal(run.Result, &res) == nil && res.Clone != nil {
		spec.Made = res.Clone.Made
	}
	next, err := r.Start(ctx, Request{Kind: run.Kind, By: by, Of: run.ID, Clone: &spec})
	if err != nil {
		return fail(err)
	}
	_, err = r.o.Store.ChangeRun(ctx, run.ID, func(run *store.Run) error { run.CleanedBy = next.ID; return nil })
	return next, err
}

// discardFailed gives up what a failed copy left.
func (r *Recovery) discardFailed(ctx context.Context, run store.Run, by string) error {
	r.resuming.Lock()
	defer r.resuming.Unlock()
	_, p, err := r.inputOf(ctx, run.ID)
	if err != nil {
		return err
	}
	if _, err := r.o.Store.ChangeRun(ctx, run.ID, func(run *store.Run) error {
		if run.CleanedBy != "" {
			return dr.WithHint(fmt.Errorf("run %s has %s, and is done with", run.ID, run.State), dr.KindConflict, "understudy run show "+run.ID)
		}
		run.CleanedBy = discarded
		return nil
	}); err != nil {
		return err
	}
	r.event(ctx, "run.discarded", run, fmt.Sprintf("what the %s of %s had copied is removed (%s)", run.Kind, p.Clone.about(), by))
	return r.discard(ctx, p.Clone)
}

// Sweep removes what copies left that nobody will go on with: their machines, known by the run that they are tagged
// with, and their journals. What belongs to a run of which nothing is known is left alone: it may be somebody else's.
func (r *Recovery) Sweep(ctx context.Context) error {
	runs, err := r.copyRuns(ctx)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	var errs []error
	for _, c := range runs {
		if c.dead {
			errs = append(errs, r.sweepOrigin(ctx, c.spec))
		}
		if (c.dead || c.done) && c.spec.Direct && r.o.Now().Sub(c.ended) < sweptAgain {
			switch err := r.endDirect(ctx, c.spec); dr.KindOf(err) {
			case dr.KindUnavailable, dr.KindNotFound, dr.KindConflict: // it is swept when both sites are there
			default:
				errs = append(errs, err)
			}
		}
	}
	entries, err := os.ReadDir(r.o.copiesDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, e := range entries {
		// This folder is ours alone.
		if c, ok := runs[e.Name()]; !ok || c.dead || c.done {
			errs = append(errs, os.RemoveAll(r.o.copyDir(e.Name())))
		}
	}
	return errors.Join(errs...)
}

// sweepOrigin removes a machine that a dead copy left.
func (r *Recovery) sweepOrigin(ctx context.Context, c *CloneSpec) error {
	ctx, stop := context.WithTimeout(ctx, deleteTimeout)
	defer stop()
	d, err := r.o.Sites(ctx, c.To)
	if err != nil {
		return nil // it is swept when the site is there
	}
	list, err := d.Machines(ctx)
	if err != nil {
		return nil
	}
	for _, m := range list {
		// One that runs is somebody's by now.
		if m.Owner != c.Origin || m.Name != c.As || m.Power != dr.PowerOff {
			continue
		}
		if err := d.Delete(ctx, m.Name); err != nil {
			return fmt.Errorf("sweep %s at %s: %w", m.Name, c.To, err)
		}
		r.event(ctx, "run.swept", store.Run{ID: c.Origin}, fmt.Sprintf("removed %s at %s, left by a copy that nobody went on with", m.Name, c.To))
	}
	return nil
}

// A copyState is what became of the copies of an origin.
type copyState struct {
	spec  *CloneSpec
	done  bool      // there is a copy that succeeded
	ended time.Time // when the newest of its runs did
	dead  bool      // nobody goes on with it
}

// sweptAgain is for how long after its end a copy that a cloud made is looked at again: a request of a controller that died
// may have been carried out after what it left was removed.
const sweptAgain = resumable + 24*time.Hour

// sweptRuns bounds how many runs are looked at.
const sweptRuns = 100000

// copyRuns tells by origin what became of copies.
func (r *Recovery) copyRuns(ctx context.Context) (map[string]copyState, error) {
	out := map[string]copyState{}
	for _, kind := range []string{KindClone, KindMove} {
		runs, err := r.o.Store.Runs(ctx, store.RunFilter{Kind: kind, Limit: sweptRuns})
		if err != nil {
			return nil, err
		}
		for _, run := range runs { // the newest first
			var p Input
			if err := json.Unmarshal(run.Input, &p); err != nil || p.Clone == nil {
				return nil, fmt.Errorf("read input of run %s: %w", run.ID, err)
			}
			s, known := out[p.Clone.Origin]
			now := copyState{spec: p.Clone, done: run.State == store.RunSucceeded, ended: run.Ended}
			switch run.State {
			case store.RunCancelled:
				now.dead = true
			case store.RunFailed:
				// One that was resumed is as alive as the run that went on with it.
				now.dead = run.CleanedBy == discarded || run.CleanedBy == "" && r.o.Now().Sub(run.Ended) > resumable
			}
			switch {
			case !known:
				out[p.Clone.Origin] = now
			case !run.State.Ended() || now.done:
				// An older one that lives outweighs whatever a newer one says.
				out[p.Clone.Origin] = copyState{spec: s.spec, done: s.done || now.done, ended: s.ended}
			}
		}
	}
	return out, nil
}
