package extension

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/extension/collector"
	"understudy/internal/site"
)

// A Request asks to restore the extensions of machines.
type Request struct {
	Source string // the site that the inventory is of
	Target string // where the machines run
	// Machines with their inventories; As holds their names at the target, where those differ.
	Machines []dr.Machine
	As       map[string]string
	// Rehearsal: the machines reach no service of their site. What a restoration needs is looked at, nothing is changed.
	Rehearsal bool
	Say       func(format string, args ...any)
}

// Restore makes every extension healthy that the machines' inventories name, and tells of each what became of it. It is
// idempotent: one that heartbeats arrive from is left as it is. An error says that the request could not be carried out.
func (m *Manager) Restore(ctx context.Context, q Request) ([]dr.ExtensionResult, error) {
	var wanted int
	for _, machine := range q.Machines {
		wanted += len(machine.Extensions)
	}
	if wanted == 0 {
		return nil, nil
	}
	p, err := m.place(ctx, q.Target)
	if err != nil {
		return nil, fmt.Errorf("restore extensions: %w", err)
	}
	var k knowledge
	if err := m.eventually(ctx, func() error { k = p.know(ctx); return k.err }); err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	results := make([][]dr.ExtensionResult, len(q.Machines))
	indices := make([]int, len(q.Machines))
	for i := range indices {
		indices[i] = i
	}
	parallel(indices, func(i int) { results[i] = p.restoreMachine(ctx, q, k, q.Machines[i]) })
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return slices.Concat(results...), nil
}

// restoreMachine restores the extensions of one machine, each after those that it depends on.
func (p place) restoreMachine(ctx context.Context, q Request, k knowledge, m dr.Machine) []dr.ExtensionResult {
	as := m.Name
	if name, ok := q.As[m.Name]; ok {
		as = name
	}
	var results []dr.ExtensionResult
	add := func(name string, outcome dr.RestoreOutcome, reason string, at time.Time) {
		results = append(results, dr.ExtensionResult{Machine: m.Name, Extension: name, Outcome: outcome, Reason: reason, Heartbeat: at})
	}
	answers := len(m.Extensions) == 0
	failed := map[string]bool{}
	for _, e := range p.inOrder(m.Extensions) {
		outcome, reason, at, err := func() (dr.RestoreOutcome, string, time.Time, error) {
			for _, d := range e.DependsOn {
				if failed[d] {
					return "", "", time.Time{}, fmt.Errorf("it depends on %s, which is not healthy", d)
				}
			}
			if p.native != nil && p.native.Owns(e) {
				return p.restoreNative(ctx, q, m, site.RestoreExtension{Machine: as, Extension: e})
			}
			j, err := p.job(as, e.Name)
			if err != nil {
				return "", "", time.Time{}, err
			}
			j.want = e
			if q.Say != nil {
				j.say = func(format string, args ...any) { q.Say("%s: %s: "+format, append([]any{as, e.Name}, args...)...) }
			}
			if j.entry.fromCollector() {
				if k.err != nil {
					return "", "", time.Time{}, k.err
				}
				if j.rules, err = j.counterparts(q.Source, k); err != nil {
					return "", "", time.Time{}, err
				}
			}
			if !answers {
				if err := p.answers(ctx, as); err != nil {
					return "", "", time.Time{}, err
				}
				answers = true
			}
			if q.Rehearsal {
				return j.rehearse(ctx)
			}
			return j.restore(ctx, k)
		}()
		if err != nil {
			failed[e.Name] = true
			reason := err.Error()
			if hint := dr.Hint(err); hint != "" {
				reason += " (" + hint + ")"
			}
			add(e.Name, dr.ExtensionNotRestored, reason, time.Time{})
			p.m.o.Logger.Warn("extension not restored", "machine", as, "extension", e.Name, "err", err)
			continue
		}
		add(e.Name, outcome, reason, at)
	}
	return results
}

// answers waits until the machine runs programs.
func (p place) answers(ctx context.Context, machine string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.m.o.Patience+defaultTimeout, errors.New("it takes too long"))
	defer cancel()
	if err := p.driver.Probe(ctx, machine, dr.Probe{Kind: dr.ProbeAgent}); err != nil {
		return fmt.Errorf("no program can be run in %s: %w", machine, err)
	}
	return nil
}

// inOrder sorts extensions so that each comes after those that it depends on. What depends on itself comes last.
func (p place) inOrder(list []dr.Extension) []dr.Extension {
	c := Catalogue{}
	for _, e := range list {
		c[e.Name] = Entry{Name: e.Name, DependsOn: slices.Concat(e.DependsOn, p.catalogue[e.Name].DependsOn)}
	}
	var out []dr.Extension
	for _, name := range c.Names() {
		e := *find(list, name)
		e.DependsOn = slices.DeleteFunc(c[name].DependsOn, func(d string) bool { return find(list, d) == nil })
		out = append(out, e)
	}
	return out
}

// counterparts are the associations as they are to be at the site. A rule without a mapping keeps its name where the
// site has one of that name.
func (j job) counterparts(source string, k knowledge) ([]dr.Association, error) {
	if len(j.want.Associations) == 0 {
		return nil, dr.WithHint(errors.New("it was associated with no rule, so that no collector accepts its heartbeats"), dr.KindInvalid,
			"associate it: understudy extension install SITE/MACHINE "+j.entry.Name+" --rule RULE")
	}
	var list []dr.Association
	for _, a := range j.want.Associations {
		rule := a.Rule
		if ours, ok := j.settings.rules[a.Rule]; ok && source != j.site.Name {
			rule = ours
		}
		if _, ok := k.rules[rule]; !ok {
			if source == j.site.Name {
				return nil, dr.WithHint(fmt.Errorf("the collector of %s has no rule named %q", source, rule), dr.KindNotFound,
					fmt.Sprintf("make it: understudy collector rule set %s --dir DIR", rule))
			}
			hint := fmt.Sprintf("say which rule of %s takes its place: understudy extension collector %s --rule %s=RULE", j.site.Name, j.site.Name, a.Rule)
			err := fmt.Errorf("rule %s has no counterpart at %s", a.Rule, j.site.Name)
			if rule != a.Rule {
				err = fmt.Errorf("rule %s, the counterpart of %s, does not exist at %s", rule, a.Rule, j.site.Name)
				hint = "make it: understudy collector rule set " + rule + " --dir DIR"
			}
			return nil, dr.WithHint(err, dr.KindInvalid, hint)
		}
		list = append(list, dr.Association{Name: a.Name, Rule: rule})
	}
	return list, nil
}

// rehearse looks at what a restoration needs.
func (j job) rehearse(ctx context.Context) (dr.RestoreOutcome, string, time.Time, error) {
	d, err := j.detect(ctx)
	if err != nil {
		return "", "", time.Time{}, err
	}
	for name, ref := range j.entry.Protected {
		if _, err := Secret(ref); err != nil {
			return "", "", time.Time{}, fmt.Errorf("setting %s (%s): %w", name, ref, err)
		}
	}
	reason := "its handlers answer"
	if !d.Installed {
		reason += ", and it would be installed"
	}
	if len(j.rules) > 0 {
		reason += "; " + j.ruleText() + " at the collector of " + j.site.Name
	}
	return dr.ExtensionReady, reason, time.Time{}, nil
}

func (j job) ruleText() string {
	var list []string
	for _, a := range j.rules {
		was := a.Rule
		for _, b := range j.want.Associations {
			if b.Name == a.Name {
				was = b.Rule
			}
		}
		if was != a.Rule {
			list = append(list, was+" -> "+a.Rule)
		} else {
			list = append(list, a.Rule)
		}
	}
	if len(list) == 1 {
		return "rule " + list[0]
	}
	return "rules " + strings.Join(list, ", ")
}

// restore heals one extension.
func (j job) restore(ctx context.Context, k knowledge) (dr.RestoreOutcome, string, time.Time, error) {
	s, err := j.look(ctx, k)
	if err != nil {
		return "", "", time.Time{}, err
	}
	_, ailing := s.health(j)
	switch {
	case !s.Installed || s.saidErr != nil || s.said.Status != saidRunning:
	case !j.entry.fromCollector():
		return dr.ExtensionAlreadyHealthy, "", time.Time{}, nil
	case s.known():
		// It may be alive, or have been associated with nothing: what counts is a heartbeat that comes now.
		missing := j.missing(s.registration)
		if err := j.associate(ctx, missing); err != nil {
			return "", "", time.Time{}, err
		}
		at, err := j.fresh(ctx, s.registration, j.grace(k))
		switch {
		case err == nil && len(missing) == 0:
			return dr.ExtensionAlreadyHealthy, "", at, nil
		case err == nil:
			return dr.ExtensionRestored, "associated again with " + j.ruleText(), at, nil
		case ctx.Err() != nil:
			return "", "", time.Time{}, err
		}
		ailing = fmt.Sprintf("%s, but %s", "says it is running", err)
	}
	if ailing != "" {
		j.say("%s", ailing)
	}
	at, err := j.replace(ctx, s.Installed)
	if err != nil {
		return "", "", time.Time{}, fmt.Errorf("%s; %w", ailing, err)
	}
	if s.Installed {
		ailing += "; removed and installed again"
	} else {
		ailing += "; installed"
	}
	if len(j.rules) > 0 {
		ailing += ", registered, " + j.ruleText()
	}
	return dr.ExtensionRestored, ailing, at, nil
}

// replace removes what is installed, and installs it so that the site knows it. It returns when the first heartbeat
// arrived.
func (j job) replace(ctx context.Context, installed bool) (time.Time, error) {
	if installed {
		j.say("removing it")
		if err := j.remove(ctx); err != nil {
			return time.Time{}, err
		}
	}
	var c *CallCollector
	var reg collector.Registration
	if j.entry.fromCollector() {
		j.say("registering it at the collector of %s, %s", j.site.Name, j.ruleText())
		var err error
		// A token is shown once. When the controller dies before the install, the next try registers anew.
		if reg, err = j.collector.Register(ctx, j.machine, j.entry.Name); err != nil {
			return time.Time{}, err
		}
		c = &CallCollector{Endpoint: j.settings.endpoint, Registration: reg.ID, Token: reg.Token}
		if err := j.associate(ctx, j.rules); err != nil {
			return time.Time{}, err
		}
	}
	j.say("installing %s", j.entry.Version)
	if err := j.install(ctx, c); err != nil {
		return time.Time{}, err
	}
	if c == nil {
		said, err := j.status(ctx)
		if err == nil && said.Status != saidRunning {
			err = fmt.Errorf("after the install it says it is %s: %s", said.Status, said.Message)
		}
		return time.Time{}, err
	}
	j.say("waiting for a heartbeat at %s", j.site.Name)
	return j.fresh(ctx, &reg, j.entry.within())
}

// missing are the associations that the site has not got.
func (j job) missing(r *collector.Registration) []dr.Association {
	return slices.DeleteFunc(slices.Clone(j.rules), func(a dr.Association) bool { return slices.Contains(r.Associations, a) })
}

func (j job) associate(ctx context.Context, list []dr.Association) error {
	for _, a := range list {
		if err := j.collector.Associate(ctx, j.machine, j.entry.Name, a); err != nil {
			return fmt.Errorf("associate %s on %s with rule %s: %w", j.entry.Name, j.machine, a.Rule, err)
		}
	}
	return nil
}

// grace is how long a heartbeat may take that comes by itself: two of the rules' shortest intervals and a little.
func (j job) grace(k knowledge) time.Duration {
	shortest := j.entry.within()
	for _, a := range j.rules {
		if r, ok := k.rules[a.Rule]; ok {
			shortest = min(shortest, time.Duration(r.Seconds*float64(time.Second)))
		}
	}
	return min(2*shortest+5*time.Second, j.entry.within())
}

// fresh waits for a heartbeat that arrives under the registration after the one that it has: by the collector's clock
// alone, so that no other matters. It returns when it arrived.
func (j job) fresh(ctx context.Context, reg *collector.Registration, within time.Duration) (time.Time, error) {
	var last time.Time
	if reg.Heartbeat != nil {
		last = reg.Heartbeat.Received
	}
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("no fresh heartbeat arrived at the collector of %s in %s", j.site.Name, within))
	defer cancel()
	var failure error // of the collector, at the last look
	for {
		now, err := j.collector.Registrations(ctx)
		failure = err
		if err == nil {
			k := knowledge{Instant: now}
			r := k.registration(j.machine, j.entry.Name)
			if r == nil || r.ID != reg.ID {
				return time.Time{}, dr.WithHint(fmt.Errorf("somebody else registered or removed %s of %s at the collector of %s meanwhile",
					j.entry.Name, j.machine, j.site.Name), dr.KindConflict, "try again")
			}
			if r.Heartbeat != nil && r.Heartbeat.Received.After(last) {
				return r.Heartbeat.Received, nil
			}
		}
		if err := sleep(ctx, j.m.o.Poll); err != nil {
			if failure != nil && !errors.Is(failure, context.DeadlineExceeded) {
				err = fmt.Errorf("%w: %w", err, failure)
			}
			return time.Time{}, dr.WithHint(err, dr.KindUnavailable,
				fmt.Sprintf("see that guests reach %s, the endpoint of %s's collector", j.settings.endpoint, j.site.Name))
		}
	}
}
