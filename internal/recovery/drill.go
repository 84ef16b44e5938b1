package recovery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery/drill"
	"understudy/internal/recovery/engine"
	"understudy/internal/site"
	"understudy/internal/store"
)

// A DrillSpec says how a drill is done.
type DrillSpec struct {
	// Keep leaves the machines of a drill that failed, to be looked at; a clean-up removes them.
	Keep bool `json:"keep,omitempty"`
	// Due is when the schedule wanted it; zero for a drill that a person asked for.
	Due time.Time `json:"due,omitzero"`
}

// A DrillResult is what a drill found besides what every failover does.
type DrillResult struct {
	Checks   []drill.Check `json:"checks,omitempty"`
	Evidence []drill.Item  `json:"evidence,omitempty"`
	Lag      drill.Lag     `json:"lag,omitzero"`
	// Cleaned is when nothing of the drill was left; only then it counts. Kept says that it failed and its machines were
	// left on purpose.
	Cleaned time.Time `json:"cleaned,omitzero"`
	Kept    bool      `json:"kept,omitempty"`
}

// Times of a drill.
const (
	evidenceTimeout = time.Minute      // for all that is taken of one machine
	checkTimeout    = 10 * time.Second // for a machine that answered before to answer again
	failedTimeout   = 2 * time.Second  // for one that is known to be in trouble
	sampleEvery     = 500 * time.Millisecond
	sampleSparse    = 10 * time.Second // once a drill takes long, such as one that waits for an approval
	sampleDense     = 10 * time.Minute
	evidenceKept    = 100 // drills of each group whose evidence is kept
)

// rehearses reports whether runs of a kind bring machines up beside production, in isolated networks.
func rehearses(kind string) bool { return kind == KindTest || kind == KindDrill }

func (r *Recovery) drillKind() kind {
	return kind{
		prepare: func(_ context.Context, q Request, p *Input, _ store.Protection) (func(*store.Protection) error, error) {
			p.Drill = &DrillSpec{}
			if q.Drill != nil {
				*p.Drill = *q.Drill
			}
			return func(s *store.Protection) error { s.TestRun = p.Run; return apply(s, dr.OpTestFailover) }, nil
		},
		do: r.drill, settle: settleDrill,
	}
}

// settleDrill ends a drill. It is a proof when it passed and nothing of it is left.
func settleDrill(o outcome, prot *store.Protection) error {
	if o.result.Drill == nil || o.result.Drill.Cleaned.IsZero() {
		if prot.Test == dr.TestFailed {
			return nil
		}
		return apply(prot, dr.OpTestFail)
	}
	if o.state == store.RunSucceeded {
		proven(prot, o.input.Run, o.result)
	}
	if prot.Test != dr.TestCleaningUp {
		if err := apply(prot, dr.OpCleanup); err != nil {
			return err
		}
	}
	return apply(prot, dr.OpCleaned)
}

func (r *Recovery) archive() drill.Archive { return drill.Archive{Dir: r.o.EvidenceDir} }

// drill brings copies up in an isolated network, takes evidence and removes them. Production and its replication are
// not touched, and that is measured.
func (r *Recovery) drill(run *engine.Run, p Input) (*Result, error) {
	res := &Result{Drill: &DrillResult{}}
	stop := r.sample(p)
	defer stop()

	made, failure := r.rehearse(run, p, res)
	if errors.Is(failure, engine.ErrInterrupted) {
		return res, failure
	}
	aborted := errors.Is(failure, engine.ErrAborted)
	if made && !aborted {
		found, err := r.examine(run, p, failure == nil, res)
		switch {
		case errors.Is(err, engine.ErrInterrupted):
			return res, err
		case errors.Is(err, engine.ErrAborted):
			aborted, failure = true, err
		case failure == nil:
			failure = found
		}
	}
	stop()
	lag, err := r.measured(run, p)
	if errors.Is(err, engine.ErrInterrupted) {
		return res, err
	}
	res.Drill.Lag = lag

	if made && failure != nil && !aborted && p.Drill != nil && p.Drill.Keep {
		res.Drill.Kept = true
		return res, dr.WithHint(failure, dr.KindOf(failure), "look at the machines at site "+p.Target+", then: understudy cleanup "+p.Group)
	}
	if err := r.clear(run, p, made, res); err != nil {
		if errors.Is(err, engine.ErrInterrupted) {
			return res, err
		}
		return res, dr.WithHint(errors.Join(failure, fmt.Errorf("clean up: %w", err)), dr.KindOf(err), "understudy cleanup "+p.Group)
	}
	if failure != nil && !aborted {
		failure = dr.WithHint(failure, dr.KindOf(failure), fmt.Sprintf("understudy run report %s --out report.html has the consoles and screens", p.Run))
	}
	return res, failure
}

// rehearse brings the copies up. made says that there may be something to remove.
func (r *Recovery) rehearse(run *engine.Run, p Input, res *Result) (made bool, err error) {
	point, err := r.choose(run, p, "choose point", "choose the recovery point")
	if err != nil {
		return false, err
	}
	point.into(res)
	res.RPO = p.rpo(point)
	if err := r.serve(run, p, point); err != nil {
		return false, err
	}
	return true, r.bringUp(run, p, res)
}

// clear removes what the drill made.
func (r *Recovery) clear(run *engine.Run, p Input, made bool, res *Result) error {
	const prefix = "clean up: "
	if !made {
		if err := r.stopServing(run, p.Run, prefix); err != nil {
			return err
		}
	} else if err := r.remove(run, p, prefix); err != nil {
		return err
	}
	at, err := engine.Do(run, engine.Step[time.Time]{Name: prefix + "record", Title: "record that nothing of the drill is left",
		Options: engine.StepOptions{Timeout: vaultTimeout, Retries: 5, Cleanup: true},
		Do: func(ctx context.Context, say *engine.Progress) (time.Time, error) {
			if n := r.forgetEvidence(ctx, p.Group); n > 0 {
				say.Say("evidence of %d older drills is no longer kept", n)
			}
			return r.o.Now().UTC(), r.tested(ctx, p, dr.OpCleanup)
		}})
	res.Drill.Cleaned = at
	return err
}

// tested moves the test failover that the drill is on, for people to see; where it has moved already it stays.
func (r *Recovery) tested(ctx context.Context, p Input, op dr.Operation) error {
	_, err := r.o.Store.ChangeProtection(ctx, p.Group, func(s *store.Protection) error {
		if next := *s; s.TestRun == p.Run && apply(&next, op) == nil {
			*s = next
		}
		return nil
	})
	return err
}

// exam is what was found out about one machine.
type exam struct {
	Check drill.Check  `json:"check"`
	Items []drill.Item `json:"items"`
}

// examine looks at all machines at the same time and keeps what there is to see. found says which of them are not
// healthy; well, that each of them was before.
func (r *Recovery) examine(run *engine.Run, p Input, well bool, res *Result) (found, err error) {
	place := map[string]int{}
	for i, m := range p.Machines {
		place[m.Name] = i
	}
	exams, err := each(run, p.Machines, func(m dr.MachinePolicy) engine.Step[exam] {
		return engine.Step[exam]{Name: "evidence " + m.Name, Title: "take evidence of " + p.as(m.Name),
			Options: engine.StepOptions{Timeout: evidenceTimeout},
			Do: func(ctx context.Context, say *engine.Progress) (exam, error) {
				if well {
					if err := r.tested(ctx, p, dr.OpTestRunning); err != nil {
						return exam{}, err
					}
				}
				e := r.look(ctx, p, m, place[m.Name], well)
				say.Say("%s", e.summary())
				return e, nil
			}}
	})
	if err != nil {
		return nil, err
	}
	var ill []string
	for _, e := range exams {
		res.Drill.Checks = append(res.Drill.Checks, e.Check)
		res.Drill.Evidence = append(res.Drill.Evidence, e.Items...)
		if !e.Check.Passed {
			ill = append(ill, e.Check.Machine)
		}
	}
	if len(ill) > 0 {
		found = dr.WithHint(fmt.Errorf("not all machines are healthy together: %s", strings.Join(ill, ", ")), dr.KindUnavailable, "")
	}
	return found, nil
}

func (e exam) summary() string {
	var parts []string
	for _, it := range e.Items {
		switch {
		case it.Missing != "":
			parts = append(parts, fmt.Sprintf("no %s: %s", it.Kind, it.Missing))
		default:
			parts = append(parts, string(it.Kind))
		}
	}
	health := "healthy"
	if !e.Check.Passed {
		health = "NOT healthy: " + e.Check.Error
	}
	return strings.Join(append([]string{health}, parts...), ", ")
}

// look examines one machine. What cannot be had is said in its place: evidence never fails a drill.
func (r *Recovery) look(ctx context.Context, p Input, m dr.MachinePolicy, place int, well bool) exam {
	name := p.as(m.Name)
	e := exam{Check: drill.Check{Machine: m.Name, As: name, Probe: drill.ProbeText(m.Probe)}}
	d, err := r.o.Sites(ctx, p.Target)
	if err != nil {
		e.Check.Error = err.Error()
		return e
	}
	limit := failedTimeout
	if well {
		limit = min(cmp.Or(m.Probe.Timeout, checkTimeout), checkTimeout)
	}
	probing, stop := context.WithTimeout(ctx, limit)
	began := time.Now()
	err = d.Probe(probing, name, m.Probe)
	stop()
	e.Check.Seconds, e.Check.Passed = time.Since(began).Seconds(), err == nil
	if err != nil {
		e.Check.Error = err.Error()
	}
	keep := func(kind drill.ItemKind, take func() ([]byte, error), most int) {
		item := drill.Item{Machine: m.Name, Kind: kind, Time: r.o.Now().UTC()}
		data, err := take()
		switch {
		case err != nil:
			item.Missing = err.Error()
		case len(data) == 0:
			item.Missing = "it is empty"
		case len(data) > most:
			item.Missing = fmt.Sprintf("it has %d bytes, more than %d", len(data), most)
		case r.o.EvidenceDir == "":
			item.Missing = "no folder for evidence is configured"
		default:
			item.File = drill.FileOf(place, m.Name, kind)
			if item, err = r.archive().Put(p.Run, item, data); err != nil {
				item.File, item.Missing = "", err.Error()
			}
		}
		e.Items = append(e.Items, item)
	}
	keep(drill.Screen, func() ([]byte, error) {
		s, ok := d.(site.Screenshoter)
		if !ok {
			return nil, errors.New("the site cannot see screens")
		}
		return s.Screenshot(ctx, name)
	}, drill.MaxScreen)
	keep(drill.Console, func() ([]byte, error) {
		c, ok := d.(site.ConsoleReader)
		if !ok {
			return nil, errors.New("the site has no text of consoles")
		}
		return c.Console(ctx, name, drill.MaxConsole)
	}, drill.MaxConsole)
	return e
}

// sample notes how replication stands until the returned function is called. A restart of the controller leaves a gap.
func (r *Recovery) sample(p Input) (stop func()) {
	if r.o.Replication == nil || r.o.EvidenceDir == "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		began := time.Now()
		for {
			every := sampleEvery
			if time.Since(began) > sampleDense {
				every = sampleSparse
			}
			s, err := r.o.Replication(ctx, p.Group)
			if err == nil {
				s.Time = r.o.Now().UTC()
				err = r.archive().Note(p.Run, s)
			}
			if err != nil && ctx.Err() == nil {
				r.o.Logger.Warn("measure replication during a drill", "run", p.Run, "error", err)
				every = sampleSparse
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(every):
			}
		}
	}()
	return func() { cancel(); <-done }
}

// measured sums up how replication went on.
func (r *Recovery) measured(run *engine.Run, p Input) (drill.Lag, error) {
	if r.o.Replication == nil || r.o.EvidenceDir == "" {
		return drill.Lag{}, nil
	}
	return engine.Do(run, engine.Step[drill.Lag]{Name: "measure", Title: "measure how replication went on",
		Options: engine.StepOptions{Timeout: time.Minute, Cleanup: true},
		Do: func(_ context.Context, say *engine.Progress) (drill.Lag, error) {
			samples, err := r.archive().Samples(p.Run)
			if err != nil {
				say.Say("could not be read: %v", err) // a drill does not fail for it
				return drill.Lag{}, nil
			}
			lag := drill.Sum(samples)
			say.Say("%s", lag.Verdict())
			return lag, nil
		}})
}

// forgetEvidence removes the evidence of all but the newest drills of a group, and returns of how many.
func (r *Recovery) forgetEvidence(ctx context.Context, group string) (n int) {
	old, err := r.o.Store.RunsBeyond(ctx, group, KindDrill, evidenceKept)
	have, herr := r.archive().Runs()
	err = errors.Join(err, herr)
	for _, id := range old {
		if !slices.Contains(have, id) {
			continue
		}
		if rerr := r.archive().Remove(id); rerr != nil {
			err = errors.Join(err, rerr)
			continue
		}
		n++
	}
	if err != nil {
		r.o.Logger.Warn("remove old evidence", "group", group, "error", err)
	}
	return n
}

// sweepEvidence removes the evidence of runs that are no longer known.
func (r *Recovery) sweepEvidence(ctx context.Context) error {
	have, err := r.archive().Runs()
	for _, id := range have {
		run, rerr := r.o.Store.Run(ctx, id)
		if dr.KindOf(rerr) == dr.KindNotFound || rerr == nil && run.ID != id {
			rerr = r.archive().Remove(id)
		}
		err = errors.Join(err, rerr)
	}
	return err
}

// A Proof is what the newest drill or test failover proved that was cleaned up.
type Proof struct {
	At       time.Time
	Run      string
	Point    string
	RTO      time.Duration
	Machines []MachineResult // of that run, as long as it is known
}

// Proven returns the newest proof that a group can be brought up, and whether there is one.
func (r *Recovery) Proven(ctx context.Context, group string) (Proof, bool, error) {
	prot, err := r.o.Store.Protection(ctx, group)
	if err != nil || prot.ProvenAt.IsZero() {
		return Proof{}, false, err
	}
	p := Proof{At: prot.ProvenAt, Run: prot.ProvenRun, Point: prot.ProvenPoint, RTO: prot.ProvenRTO}
	_, res, err := r.Result(ctx, prot.ProvenRun)
	if dr.KindOf(err) == dr.KindNotFound {
		return p, true, nil
	}
	p.Machines = res.Machines
	return p, true, err
}

// due is when a schedule wanted the run, or zero.
func (p Input) due() (t time.Time) {
	if p.Drill != nil {
		t = p.Drill.Due
	}
	return t
}

// DrillDue returns the drill of a group that was begun for a due time, and whether there is one.
func (r *Recovery) DrillDue(ctx context.Context, group string, due time.Time) (store.Run, bool, error) {
	runs, err := r.o.Store.Runs(ctx, store.RunFilter{Group: group, Kind: KindDrill, Limit: 20})
	if err != nil {
		return store.Run{}, false, err
	}
	for _, run := range runs {
		var p Input
		if err := json.Unmarshal(run.Input, &p); err != nil {
			return store.Run{}, false, fmt.Errorf("read input of run %s: %w", run.ID, err)
		}
		if p.due().Equal(due) && !due.IsZero() {
			return run, true, nil
		}
	}
	return store.Run{}, false, nil
}
