package extension

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"understudy/internal/dr"
)

// An Install asks to install an extension in a machine of a site.
type Install struct {
	Site      string
	Machine   string
	Extension string
	Settings  map[string]string // over those of the catalogue's entry
	Rules     []string          // of the site's collector, to be associated with
	Say       func(format string, args ...any)
}

// Install installs an extension, or installs it anew, and returns when its first heartbeat has arrived: nil for an
// extension that sends none.
func (m *Manager) Install(ctx context.Context, q Install) (*time.Time, error) {
	fail := func(err error) (*time.Time, error) {
		return nil, fmt.Errorf("install %s on %s/%s: %w", q.Extension, q.Site, q.Machine, err)
	}
	p, err := m.place(ctx, q.Site)
	if err != nil {
		return fail(err)
	}
	j, err := p.job(q.Machine, q.Extension)
	if err != nil {
		return fail(err)
	}
	if q.Say != nil {
		j.say = q.Say
	}
	for name := range q.Settings {
		if _, secret := j.entry.Protected[name]; secret {
			return fail(dr.WithHint(fmt.Errorf("setting %s is protected", name), dr.KindInvalid, "change the reference in its entry: understudy extension catalogue add FILE"))
		}
	}
	j.want = dr.Extension{Name: q.Extension, Settings: maps.Clone(q.Settings)}
	if j.entry.fromCollector() {
		k := p.know(ctx)
		if k.err != nil {
			return fail(k.err)
		}
		if len(q.Rules) == 0 {
			return fail(dr.WithHint(errors.New("it needs a rule: a collector accepts heartbeats of agents that are associated with one"),
				dr.KindInvalid, "give --rule RULE; understudy collector rule list shows those of the collector"))
		}
		for _, r := range q.Rules {
			j.want.Associations = append(j.want.Associations, dr.Association{Name: r, Rule: r})
		}
		if j.rules, err = j.counterparts(q.Site, k); err != nil {
			return fail(err)
		}
	}
	if err := p.answers(ctx, q.Machine); err != nil {
		return fail(err)
	}
	d, err := j.detect(ctx)
	if err != nil {
		return fail(err)
	}
	at, err := j.replace(ctx, d.Installed)
	if err != nil || at.IsZero() {
		if err != nil {
			return fail(err)
		}
		return nil, nil
	}
	return &at, nil
}

// Remove removes an extension from a machine and from the site's collector.
func (m *Manager) Remove(ctx context.Context, siteName, machine, name string) error {
	fail := func(err error) error { return fmt.Errorf("remove %s from %s/%s: %w", name, siteName, machine, err) }
	p, err := m.place(ctx, siteName)
	if err != nil {
		return fail(err)
	}
	j, err := p.job(machine, name)
	if err != nil {
		return fail(err)
	}
	if err := p.answers(ctx, machine); err != nil {
		return fail(err)
	}
	d, err := j.detect(ctx)
	if err == nil && d.Installed {
		err = j.remove(ctx)
	}
	if err == nil && j.entry.fromCollector() && p.collector != nil {
		err = p.collector.Unregister(ctx, machine, name)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// Inventory is the part of observed extensions that goes with a recovery point: what must be there again, without what
// changes by itself, so that a heartbeat makes no recovery point.
func Inventory(list []dr.Extension) []dr.Extension {
	out := slices.Clone(list)
	for i := range out {
		out[i].Heartbeat, out[i].Message, out[i].Status = time.Time{}, "", ""
	}
	return out
}
