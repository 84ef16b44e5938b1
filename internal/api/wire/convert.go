package wire

import (
	"fmt"
	"time"

	"understudy/internal/access"
	"understudy/internal/dr"
)

// At is a pointer to an instant in UTC, nil for the zero time.
func At(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// FromSite converts a site.
func FromSite(s dr.Site) Site { return Site(s) }

// DR converts a site.
func (s Site) DR() dr.Site { return dr.Site(s) }

// FromPolicy converts a policy.
func FromPolicy(p dr.Policy) Policy {
	return Policy{Name: p.Name, RPO: Duration(p.RPO), Keep: dr.FormatTiers(p.Keep),
		AppEvery: Duration(p.AppEvery), FreezeTimeout: Duration(p.FreezeTimeout)}
}

// DR converts and checks a policy.
func (p Policy) DR() (dr.Policy, error) {
	keep, err := dr.ParseTiers(p.Keep)
	if err != nil {
		return dr.Policy{}, fmt.Errorf("policy %s: %w", p.Name, err)
	}
	v := dr.Policy{Name: p.Name, RPO: time.Duration(p.RPO), Keep: keep,
		AppEvery: time.Duration(p.AppEvery), FreezeTimeout: time.Duration(p.FreezeTimeout)}
	return v, v.Validate()
}

// FromGroup converts a group.
func FromGroup(g dr.Group) Group {
	w := Group{Name: g.Name, Site: g.Site, Target: g.Target, Vault: g.Vault, Policy: g.Policy, Paused: g.Paused, Machines: []GroupMachine{}}
	for _, m := range g.Machines {
		wm := GroupMachine{Name: m.Name, Order: m.Order}
		if m.Probe != (dr.Probe{}) {
			wm.Probe = &Probe{Kind: string(m.Probe.Kind), Text: m.Probe.Text, Port: m.Probe.Port, Path: m.Probe.Path, Timeout: Duration(m.Probe.Timeout)}
		}
		if h := m.Hooks; len(h.Before)+len(h.After) > 0 {
			wm.Hooks = &Hooks{Before: h.Before, After: h.After}
		}
		w.Machines = append(w.Machines, wm)
	}
	return w
}

// DR converts a group.
func (g Group) DR() dr.Group {
	v := dr.Group{Name: g.Name, Site: g.Site, Target: g.Target, Vault: g.Vault, Policy: g.Policy, Paused: g.Paused}
	for _, m := range g.Machines {
		dm := dr.MachinePolicy{Name: m.Name, Order: m.Order}
		if p := m.Probe; p != nil {
			dm.Probe = dr.Probe{Kind: dr.ProbeKind(p.Kind), Text: p.Text, Port: p.Port, Path: p.Path, Timeout: time.Duration(p.Timeout)}
		}
		if h := m.Hooks; h != nil {
			dm.Hooks = dr.Hooks{Before: h.Before, After: h.After}
		}
		v.Machines = append(v.Machines, dm)
	}
	return v
}

// FromVerifier converts what a verification of the audit log found.
func FromVerifier(v access.Verifier) AuditVerification {
	w := AuditVerification{Intact: v.Intact(), Entries: v.Last.Sequence, Findings: append([]string{}, v.Findings...)}
	if v.Last.Sequence > 0 {
		w.Head = v.Last.String()
	}
	return w
}
