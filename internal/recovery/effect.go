package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"understudy/internal/dr"
	act "understudy/internal/recovery/action"
	"understudy/internal/recovery/engine"
	"understudy/internal/recovery/plan"
	"understudy/internal/site"
	"understudy/internal/store"
)

// outputKept is how much of an action's output is kept, in bytes.
const outputKept = 4 << 10

// effect does what the action says, once. What it wrote is in the attempt, without secrets; so is the error.
func (d *deed) effect(ctx context.Context, say *engine.Progress, a *store.Attempt) error {
	switch {
	case d.a.Wait != 0:
		return d.wait(ctx, say, a.Until)
	case d.a.Probe != nil:
		return d.probe(ctx)
	case d.a.Extensions != nil:
		return d.restore(ctx, say, a)
	}
	scrub, out := &act.Scrubber{}, &act.Buffer{}
	for name, s := range d.p.Plan.Plan.Secrets { // also what an earlier action left where this one finds it
		if value, err := act.ReadSecret(name, s.Env, s.File); err == nil {
			scrub.Hide(value)
		}
	}
	err := d.program(ctx, a, scrub, out)
	a.Output = scrub.Tail(out, outputKept)
	if a.Output != "" {
		say.Say("%s", short(act.LastLine(a.Output)))
	}
	if err != nil && a.Output != "" && ctx.Err() == nil {
		err = dr.WithHint(fmt.Errorf("%w: %s", err, short(act.LastLine(a.Output))), dr.KindOf(err), dr.Hint(err))
	}
	return scrub.Error(err)
}

func short(line string) string {
	const most = 300
	if len(line) > most {
		line = strings.ToValidUTF8(line[:most], "") + "..."
	}
	return line
}

// program runs the action's program or request.
func (d *deed) program(ctx context.Context, a *store.Attempt, scrub *act.Scrubber, out *act.Buffer) error {
	ports, err := d.ports(ctx)
	if err != nil {
		return err
	}
	stdin, err := json.MarshalIndent(d.context(*a, ports), "", "  ")
	if err != nil {
		return err
	}
	x := &expander{lookup: func(scope, name string) (string, error) { return d.value(scope, name, ports, scrub) }}
	switch {
	case d.a.Script != nil:
		scratch, err := d.scratch(true)
		if err != nil {
			return err
		}
		s := act.Script{Argv: x.all(d.a.Script.Argv), Text: x.one(d.a.Script.Text), Dir: x.one(d.a.Script.Dir),
			Env: append(d.environment(*a), x.env(d.a.Script.Env)...), Stdin: stdin, Scratch: scratch, Output: out}
		if x.err == nil {
			x.err = s.Run(ctx)
		}
		if ctx.Err() == nil || errors.Is(context.Cause(ctx), engine.ErrAborted) || errors.Is(context.Cause(ctx), engine.ErrTimeout) {
			return errors.Join(x.err, os.RemoveAll(scratch))
		}
		return x.err
	case d.a.HTTP != nil:
		h := d.a.HTTP
		q := act.Request{Method: h.Verb(), URL: x.one(h.URL), Body: x.one(h.Body), Headers: map[string]string{}, Expect: h.Expect,
			Key: act.Key(d.p.Run, d.a.Name), Output: out}
		for name, value := range h.Headers {
			q.Headers[name] = x.one(value)
		}
		if x.err != nil {
			return x.err
		}
		return q.Send(ctx)
	case d.a.Guest != nil:
		c := site.Command{Argv: x.all(d.a.Guest.Command), Env: append(d.environment(*a), x.env(d.a.Guest.Env)...), Stdin: stdin}
		if x.err != nil {
			return x.err
		}
		return d.guest(ctx, c, out)
	}
	return dr.WithHint(fmt.Errorf("action %q says nothing to do", d.a.Name), dr.KindInvalid, "")
}

// guest runs a program in a machine.
func (d *deed) guest(ctx context.Context, c site.Command, out *act.Buffer) error {
	return d.r.withTarget(ctx, d.p, func(driver site.Driver) error {
		commander, ok := driver.(site.Commander)
		if !ok {
			return dr.WithHint(fmt.Errorf("site %s cannot run programs in machines", d.p.Target), dr.KindInvalid, "use a script on the controller instead")
		}
		res, err := commander.Command(ctx, d.p.as(d.a.Guest.Machine), c)
		if err != nil {
			return err
		}
		for _, text := range [][]byte{res.Stdout, res.Stderr} {
			if _, err := out.Write(text); err != nil {
				return err
			}
		}
		if res.ExitCode != 0 {
			return dr.WithHint(fmt.Errorf("exit status %d", res.ExitCode), dr.KindInternal, "")
		}
		return nil
	})
}

func (d *deed) wait(ctx context.Context, say *engine.Progress, until time.Time) error {
	say.Say("until %s", until.Local().Format(time.TimeOnly))
	for {
		left := until.Sub(d.r.o.Now())
		if left <= 0 {
			return nil
		}
		if err := sleep(ctx, min(left, lookAgain)); err != nil {
			return err
		}
	}
}

func (d *deed) probe(ctx context.Context) error {
	p := d.a.Probe
	probe := dr.Probe{Kind: p.Kind, Text: p.Text, Port: p.Port, Path: p.Path}
	_, missing := waitTitle(probe, d.p.as(p.Machine))
	err := d.r.withTarget(ctx, d.p, func(driver site.Driver) error { return driver.Probe(ctx, d.p.as(p.Machine), probe) })
	if err != nil {
		return dr.WithHint(fmt.Errorf("machine %s %s: %w", d.p.as(p.Machine), missing, err), dr.KindOf(err), dr.Hint(err))
	}
	return nil
}

// restore makes extensions healthy. In a rehearsal, whose machines reach nothing, it is only seen whether that could be done.
func (d *deed) restore(ctx context.Context, say *engine.Progress, a *store.Attempt) error {
	if d.r.o.Extensions == nil {
		return dr.WithHint(errors.New("this controller knows no extensions"), dr.KindInvalid, "")
	}
	all, err := d.r.pointMachines(ctx, d.p, d.res.Point)
	if err != nil {
		return err
	}
	q := ExtensionRequest{Run: d.p.Run, Group: d.p.Group, Source: d.p.Source, Target: d.p.Target, As: map[string]string{}, Say: say.Say, Rehearsal: !d.p.goesLive()}
	for _, m := range all {
		if only := d.a.Extensions.Machines; len(only) == 0 || slices.Contains(only, m.Name) {
			q.Machines = append(q.Machines, m)
			q.As[m.Name] = d.p.as(m.Name)
		}
	}
	if a.Extensions, err = d.r.o.Extensions.Restore(ctx, q); err != nil {
		return err
	}
	a.Output = SumUp(a.Extensions)
	say.Say("%s", a.Output)
	return NotRestored(d.p.Group, a.Extensions)
}

// pointMachines are the group's machines as the recovery point describes them.
func (r *Recovery) pointMachines(ctx context.Context, p Input, point string) (list []dr.Machine, err error) {
	if err := r.exports.ensure(ctx, p.Run); err != nil {
		return nil, err
	}
	all := r.exports.of(p.Run).machines()
	if all == nil { // it is not served, or no longer
		v, err := r.o.Vaults(ctx, p.Vault)
		if err != nil {
			return nil, err
		}
		opened, err := v.OpenPoint(ctx, p.Group, point)
		if err != nil {
			return nil, err
		}
		all = opened.Machines()
		if err := opened.Close(); err != nil {
			return nil, err
		}
	}
	for _, m := range all {
		if slices.ContainsFunc(p.Machines, func(o dr.MachinePolicy) bool { return o.Name == m.Name }) {
			list = append(list, m)
		}
	}
	return list, nil
}

// scratch is the folder of a script's files; fresh empties it.
func (d *deed) scratch(fresh bool) (string, error) {
	dir := filepath.Join(d.r.o.RunDir, "action-"+act.Key(d.p.Run, d.a.Name))
	if !fresh {
		return dir, nil
	}
	err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700))
	if err != nil {
		err = dr.WithHint(fmt.Errorf("prepare the script: %w", err), dr.KindUnavailable, "is the disk of the controller's folder full?")
	}
	return dir, err
}

// scratchPrefix is how the names of folders of scripts begin.
const scratchPrefix = "action-"

// sweepScratch removes folders of scripts whose runs are over: what was cancelled after a crash leaves them.
func (r *Recovery) sweepScratch(ctx context.Context) error {
	found, err := filepath.Glob(filepath.Join(r.o.RunDir, scratchPrefix+"*"))
	if err != nil || len(found) == 0 {
		return err
	}
	runs, err := r.o.Store.Runs(ctx, store.RunFilter{Active: true, Limit: 100000})
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, run := range runs {
		var p Input
		if err := json.Unmarshal(run.Input, &p); err != nil {
			return fmt.Errorf("read input of run %s: %w", run.ID, err)
		}
		if p.Plan == nil {
			continue
		}
		for _, a := range p.Plan.Plan.Actions() {
			used[scratchPrefix+act.Key(p.Run, a.Name)] = true
		}
	}
	var errs []error
	for _, dir := range found {
		if !used[filepath.Base(dir)] && !act.Alive(dir) {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// outlive waits for a program that an earlier controller began and that goes on without it: until it ends nothing else
// may be done in its place.
func (d *deed) outlive(ctx context.Context, say *engine.Progress) error {
	if d.a.Script == nil {
		return nil
	}
	dir, err := d.scratch(false)
	if err != nil {
		return err
	}
	until := d.r.o.Now().Add(d.a.Limit())
	for act.Alive(dir) && d.r.o.Now().Before(until) {
		say.Say("waiting for the script, which an earlier controller began, to end")
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	if act.Alive(dir) {
		return dr.WithHint(fmt.Errorf("the script that an earlier controller began still runs after %s", dr.FormatDuration(d.a.Limit())), dr.KindConflict,
			"end it at the controller; then retry or skip the action, or begin another run")
	}
	return os.RemoveAll(dir)
}

// ports says where the controller reaches ports of the machines at the target that exist by now.
func (d *deed) ports(ctx context.Context) (map[string][]act.Port, error) {
	if len(d.res.Machines) == 0 {
		return nil, nil
	}
	out := map[string][]act.Port{}
	err := d.r.withTarget(ctx, d.p, func(driver site.Driver) error {
		there, err := driver.Machines(ctx)
		for _, m := range there {
			for _, nic := range m.NICs {
				for _, f := range nic.Forwards {
					if f.HostPort > 0 {
						out[m.Name] = append(out[m.Name], act.Port{Guest: f.GuestPort, Address: "127.0.0.1:" + strconv.Itoa(f.HostPort)})
					}
				}
			}
		}
		return err
	})
	return out, err
}

// plainValue is the value of a reference that needs neither a secret nor the site.
func (d *deed) plainValue(scope, name string) string {
	p := d.p
	switch scope {
	case "var":
		return p.Plan.Plan.Variables[name]
	case "plan":
		return map[string]string{"name": p.Plan.Name, "version": strconv.Itoa(p.Plan.Version)}[name]
	case "machine":
		if machine, what, _, ok := plan.MachineRef(name); ok && what == "name" {
			return p.as(machine)
		}
		return ""
	}
	return map[string]string{"id": p.Run, "kind": string(p.planKind()), "direction": string(p.planDirection()), "group": p.Group,
		"source": p.Source, "target": p.Target, "point": d.res.Point}[name]
}

// value is the value of a reference. The scrubber comes to know secrets.
func (d *deed) value(scope, name string, ports map[string][]act.Port, scrub *act.Scrubber) (string, error) {
	switch scope {
	case "secret":
		s, ok := d.p.Plan.Plan.Secrets[name]
		if !ok {
			return "", dr.WithHint(fmt.Errorf("no secret %q", name), dr.KindInvalid, "")
		}
		value, err := act.ReadSecret(name, s.Env, s.File)
		scrub.Hide(value)
		return value, err
	case "machine":
		machine, what, port, _ := plan.MachineRef(name)
		if what != "address" {
			break
		}
		for _, p := range ports[d.p.as(machine)] {
			if strconv.Itoa(p.Guest) == port {
				return p.Address, nil
			}
		}
		return "", dr.WithHint(fmt.Errorf("${machine.%s}: %s has no port at %s that leads to its port %s", name, machine, d.p.Target, port), dr.KindInvalid,
			"give the machine a forward to that port (understudy machine show), and use it after the machine was created")
	}
	return d.plainValue(scope, name), nil
}

// environment is what a program finds in its environment.
func (d *deed) environment(a store.Attempt) []string {
	p := d.p
	env := []string{
		"UNDERSTUDY_RUN=" + p.Run, "UNDERSTUDY_PLAN=" + p.Plan.Name, "UNDERSTUDY_GROUP=" + p.Group,
		"UNDERSTUDY_KIND=" + string(p.planKind()), "UNDERSTUDY_DIRECTION=" + string(p.planDirection()),
		"UNDERSTUDY_SOURCE=" + p.Source, "UNDERSTUDY_TARGET=" + p.Target, "UNDERSTUDY_POINT=" + d.res.Point,
		"UNDERSTUDY_ACTION=" + d.a.Name, "UNDERSTUDY_ATTEMPT=" + strconv.Itoa(a.Attempt),
		"UNDERSTUDY_IDEMPOTENCY_KEY=" + act.Key(p.Run, d.a.Name),
	}
	for _, name := range slices.Sorted(maps.Keys(p.Plan.Plan.Variables)) {
		env = append(env, "UNDERSTUDY_VAR_"+strings.ToUpper(name)+"="+p.Plan.Plan.Variables[name])
	}
	return env
}

// context describes the recovery to a program.
func (d *deed) context(a store.Attempt, ports map[string][]act.Port) act.Context {
	p, res := d.p, d.res
	c := act.Context{
		RecoveryPlanName: p.Plan.Name, GroupId: strconv.Itoa(d.stage), VmMap: map[string]act.VM{},
		FailoverType:      map[plan.Kind]string{plan.Test: "Test", plan.Planned: "Planned", plan.Unplanned: "Unplanned"}[p.planKind()],
		FailoverDirection: map[plan.Direction]string{plan.Failover: "PrimaryToSecondary", plan.Failback: "SecondaryToPrimary"}[p.planDirection()],
		Understudy: act.Details{
			Run: p.Run, Kind: string(p.planKind()), Direction: string(p.planDirection()), Group: p.Group, Source: p.Source, Target: p.Target,
			Vault: p.Vault, Requested: p.Requested.UTC(), Point: act.Point{ID: res.Point, Time: res.PointTime}, Plan: p.Plan.Name, Version: p.Plan.Version,
			Action: d.a.Name, Attempt: a.Attempt, IdempotencyKey: act.Key(p.Run, d.a.Name), Variables: p.Plan.Plan.Variables,
		},
	}
	for i, s := range p.stages() {
		if i+1 == d.stage {
			c.Understudy.Stage = s.Name
		}
		for _, m := range s.machines {
			one := act.Machine{Name: m.Name, As: p.as(m.Name), Stage: s.Name, Ports: ports[p.as(m.Name)]}
			vm := act.VM{RoleName: one.As, RecoveryPointId: res.Point}
			for _, r := range res.Machines {
				if r.Name == m.Name {
					one.Started, one.Healthy = r.Started, r.Healthy
					vm.ResourceGroupName, vm.CloudServiceName = p.Target, p.Target
					if !p.goesLive() {
						vm.CloudServiceName = p.Run
					}
				}
			}
			c.Understudy.Machines = append(c.Understudy.Machines, one)
			if d.stage == 0 || d.stage == i+1 {
				c.VmMap[m.Name] = vm
			}
		}
	}
	return c
}

// An expander replaces the references of many texts and keeps the first error.
type expander struct {
	lookup func(scope, name string) (string, error)
	err    error
}

func (x *expander) one(text string) string {
	out, err := plan.Expand(text, x.lookup)
	if x.err == nil {
		x.err = err
	}
	return out
}

func (x *expander) all(list []string) []string {
	out := make([]string, len(list))
	for i, text := range list {
		out[i] = x.one(text)
	}
	return out
}

func (x *expander) env(env map[string]string) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+x.one(env[name]))
	}
	return out
}
