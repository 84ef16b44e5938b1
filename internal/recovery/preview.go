package recovery

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"understudy/internal/dr"
	"understudy/internal/preflight"
	"understudy/internal/recovery/plan"
	"understudy/internal/store"
)

// A Preview says what a failover would do now. Nothing is changed for it.
type Preview struct {
	Kind      string           // of run
	Group     string           //
	Source    string           //
	Target    string           //
	Failback  bool             // it leads to where the group was first protected
	Point     dr.RecoveryPoint // that it would take; of a planned failover, the newest there is before its last cycle
	Lose      time.Duration    // what would be lost
	Machines  []PreviewMachine
	Steps     []string // in order
	RTO       time.Duration
	RTOFrom   string // what the estimate is from; empty when there is none
	Refused   string // why it would be refused now, with a hint
	Hint      string
	Warnings  []string
	Checks    []preflight.Check // of machines that would start on other hardware than theirs
	Requested time.Time
}

// A PreviewMachine is what would become of one machine.
type PreviewMachine struct {
	Name     string
	As       string // its name at the target
	Lose     time.Duration
	Original bool   // the machine that is there already is used again
	Base     string // the point that its disks are at, when that is known
	Changed  int64  // bytes of its disks that may differ from the point; all of them when Base is empty
	RTO      time.Duration
}

// Preview says what a failover that is asked for would do. What the group's state forbids is in the answer; an error
// says that the question cannot be answered.
func (r *Recovery) Preview(ctx context.Context, q Request) (Preview, error) {
	fail := func(err error) (Preview, error) {
		return Preview{}, fmt.Errorf("preview %s of %s: %w", q.Kind, q.Group, err)
	}
	if !failsOver(q.Kind) {
		return fail(dr.WithHint(fmt.Errorf("a %s has no preview", q.Kind), dr.KindInvalid, ""))
	}
	run, change, err := r.prepare(ctx, q)
	if err != nil {
		return fail(err)
	}
	var p Input
	if err := json.Unmarshal(run.Input, &p); err != nil {
		return fail(err)
	}
	g, err := r.o.Store.Group(ctx, q.Group)
	if err != nil {
		return fail(err)
	}
	v := Preview{Kind: q.Kind, Group: q.Group, Source: p.Source, Target: p.Target, Requested: p.Requested, Failback: g.Home != "" && p.Target == g.Home && p.Source != g.Home}
	prot, err := r.o.Store.Protection(ctx, q.Group)
	if err != nil {
		return fail(err)
	}
	if err := change(&prot); err != nil {
		v.Refused, v.Hint = err.Error(), dr.Hint(err)
	}
	if err := r.previewPoint(ctx, p, &v); err != nil {
		return fail(err)
	}
	if err := r.previewTarget(ctx, p, &v); err != nil {
		return fail(err)
	}
	r.previewSource(ctx, p, &v)
	if err := r.previewRTO(ctx, &v); err != nil {
		return fail(err)
	}
	if err := r.previewChecks(ctx, p, &v); err != nil {
		return fail(err)
	}
	v.Steps = p.story(v)
	return v, nil
}

func failsOver(kind string) bool { return Input{Kind: kind}.failsOver() }

// previewPoint says which point is taken and what is lost with it. Machines of a group share their instants.
func (r *Recovery) previewPoint(ctx context.Context, p Input, v *Preview) error {
	vault, err := r.o.Vaults(ctx, p.Vault)
	if err != nil {
		return err
	}
	if v.Point, err = vault.FindPoint(ctx, p.Group, p.Point); err != nil {
		return err
	}
	c := chosen{ID: v.Point.ID, Newest: v.Point.Time}
	head, err := vault.Head(ctx, p.Group)
	if err != nil {
		return err
	}
	if head.Point.ID == c.ID && head.Known.After(c.Newest) {
		c.Newest = head.Known
	}
	if p.Kind != KindPlanned {
		v.Lose = time.Duration(float64(p.rpo(c)) * float64(time.Second))
	}
	for _, m := range p.Machines {
		pm := PreviewMachine{Name: m.Name, As: p.as(m.Name), Lose: v.Lose}
		if rehearses(p.Kind) {
			pm.As = m.Name + "-test-RUN"
		}
		v.Machines = append(v.Machines, pm)
		if !slices.Contains(v.Point.Machines, m.Name) {
			v.Warnings = append(v.Warnings, fmt.Sprintf("point %s does not hold machine %s: choose a later one", v.Point.ID, m.Name))
		}
	}
	return nil
}

// previewTarget says what is used again at the target.
func (r *Recovery) previewTarget(ctx context.Context, p Input, v *Preview) error {
	bounded, stop := context.WithTimeout(ctx, r.o.SiteTimeout)
	defer stop()
	d, err := r.o.Sites(bounded, p.Target)
	var there []dr.Machine
	if err == nil {
		there, err = d.Machines(bounded)
	}
	if err != nil {
		v.Warnings = append(v.Warnings, fmt.Sprintf("target %s does not answer: %v", p.Target, err))
		return ctx.Err()
	}
	vault, err := r.o.Vaults(ctx, p.Vault)
	if err != nil {
		return err
	}
	for i := range v.Machines {
		m := &v.Machines[i]
		at := slices.IndexFunc(there, func(t dr.Machine) bool { return t.Name == m.As })
		if at < 0 || p.Of != "" {
			continue
		}
		if m.Original, err = r.leftBehind(ctx, p.Group, p.Target, m.Name); err != nil {
			return err
		}
		if !m.Original {
			v.Warnings = append(v.Warnings, fmt.Sprintf("machine %s exists at %s and is none of the group's: rename or remove it", m.As, p.Target))
			continue
		}
		for _, disk := range there[at].Disks {
			m.Changed += disk.Size
		}
		row, _, err := r.o.Store.Original(ctx, p.Target, m.Name)
		if err != nil {
			return err
		}
		if row.Base == "" || len(row.Toward) > 0 {
			continue
		}
		changed, full, err := vault.ChangedBetween(ctx, p.Group, row.Base, v.Point.ID)
		if err != nil || full {
			continue // everything is compared then
		}
		m.Base, m.Changed = row.Base, 0
		for id, list := range changed {
			for _, e := range list {
				if id.Machine == m.Name {
					m.Changed += e.Length
				}
			}
		}
	}
	return nil
}

// previewSource warns of what a failover meets at the source.
func (r *Recovery) previewSource(ctx context.Context, p Input, v *Preview) {
	if rehearses(p.Kind) {
		return
	}
	bounded, stop := context.WithTimeout(ctx, r.o.SiteTimeout)
	defer stop()
	d, err := r.o.Sites(bounded, p.Source)
	var there []dr.Machine
	if err == nil {
		there, err = d.Machines(bounded)
	}
	switch {
	case err != nil && p.Kind == KindPlanned:
		v.Warnings = append(v.Warnings, fmt.Sprintf("source %s does not answer, and a planned failover needs it (%v): use --unplanned if it is lost", p.Source, err))
	case err != nil:
		v.Warnings = append(v.Warnings, fmt.Sprintf("source %s does not answer: its machines are held when it comes back", p.Source))
	case p.Kind == KindFailover && !p.Change:
		var running []string
		for _, m := range there {
			if m.Power == dr.PowerOn && slices.ContainsFunc(p.Machines, func(q dr.MachinePolicy) bool { return q.Name == m.Name }) {
				running = append(running, m.Name)
			}
		}
		if len(running) > 0 {
			v.Warnings = append(v.Warnings, fmt.Sprintf("%s at %s is running: a planned failover would lose nothing", joined(running), p.Source))
		}
	}
}

func joined(names []string) string {
	if len(names) <= 3 {
		return fmt.Sprint(names)[1 : len(fmt.Sprint(names))-1]
	}
	return fmt.Sprintf("%d machines", len(names))
}

// previewRTO estimates how long it takes, from what was measured last: a failover that led the same way, else a rehearsal.
func (r *Recovery) previewRTO(ctx context.Context, v *Preview) error {
	use := func(from string, total Seconds, machines []MachineResult) {
		v.RTO, v.RTOFrom = time.Duration(float64(total)*float64(time.Second)), from
		for i := range v.Machines {
			for _, m := range machines {
				if m.Name == v.Machines[i].Name {
					v.Machines[i].RTO = time.Duration(float64(m.RTO) * float64(time.Second))
				}
			}
		}
	}
	for _, kind := range []string{v.Kind, KindFailover, KindPlanned} {
		if rehearses(v.Kind) {
			break
		}
		runs, err := r.o.Store.Runs(ctx, store.RunFilter{Group: v.Group, Kind: kind, Limit: 10})
		if err != nil {
			return err
		}
		for _, run := range runs {
			var in Input
			var res Result
			if run.State != store.RunSucceeded || json.Unmarshal(run.Input, &in) != nil || json.Unmarshal(run.Result, &res) != nil || in.Target != v.Target || res.RTO == 0 {
				continue
			}
			use(fmt.Sprintf("%s %s of %s", run.Kind, run.ID, run.Ended.Format(time.DateOnly)), res.RTO, res.Machines)
			return nil
		}
	}
	proof, ok, err := r.Proven(ctx, v.Group)
	if err != nil || !ok {
		if err == nil {
			v.Warnings = append(v.Warnings, "the group was never proven to boot: understudy failover "+v.Group+" --test")
		}
		return err
	}
	use(fmt.Sprintf("rehearsal %s of %s", proof.Run, proof.At.Format(time.DateOnly)), Seconds(proof.RTO.Seconds()), proof.Machines)
	return nil
}

// story is what happens, in order, for people.
func (p Input) story(v Preview) (steps []string) {
	say := func(format string, args ...any) { steps = append(steps, fmt.Sprintf(format, args...)) }
	actions := func(list []plan.Action) {
		for _, a := range list {
			if a.Applies(p.planKind(), p.planDirection()) {
				say("%s: %s", a.Name, a.Summary())
			}
		}
	}
	if p.Plan != nil && !rehearses(p.Kind) {
		actions(p.Plan.Plan.Before)
	}
	var originals []string
	for _, m := range v.Machines {
		if m.Original {
			originals = append(originals, m.Name)
		}
	}
	switch p.Kind {
	case KindPlanned:
		if len(originals) > 0 {
			say("bring %s at %s to point %s while %s still runs at %s", joined(originals), p.Target, v.Point.ID, p.Group, p.Source)
		}
		orders := p.orders()
		slices.Reverse(orders)
		for _, machines := range orders {
			say("shut down %s at %s and keep it stopped", joined(namesOf(machines)), p.Source)
		}
		say("make a last recovery point: nothing is lost")
		say("make %s the owner of %s", p.Target, p.Group)
	case KindFailover:
		say("make %s the owner of %s: %s can add nothing any more", p.Target, p.Group, p.Source)
		say("stop the machines at %s, if they can be reached, and keep them stopped", p.Source)
		if p.Change {
			say("stop what runs at %s and give it up", p.Target)
		}
	}
	if len(originals) > 0 && !rehearses(p.Kind) {
		say("write what differs to the disks of %s at %s", joined(originals), p.Target)
	}
	if len(originals) < len(v.Machines) {
		where := "at " + p.Target
		if rehearses(p.Kind) {
			where += " in an isolated network"
		}
		say("create %d of %d machines %s, booting from the vault", len(v.Machines)-len(originals), len(v.Machines), where)
	}
	if p.Plan != nil && rehearses(p.Kind) {
		actions(p.Plan.Plan.Before)
	}
	for _, s := range p.stages() {
		actions(s.Before)
		if len(s.machines) > 0 {
			say("start %s and wait until it is healthy", joined(namesOf(s.machines)))
		}
		actions(s.After)
	}
	if p.Plan != nil {
		actions(p.Plan.Plan.After)
	}
	if len(originals) < len(v.Machines) && !rehearses(p.Kind) {
		say("copy the disks from the vault behind the running machines")
	}
	return steps
}

func namesOf(machines []dr.MachinePolicy) (names []string) {
	for _, m := range machines {
		names = append(names, m.Name)
	}
	return names
}
