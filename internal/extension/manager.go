package extension

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/extension/collector"
	"understudy/internal/site"
)

// Options of a Manager.
type Options struct {
	Driver    func(ctx context.Context, site string) (site.Driver, error)
	Site      func(ctx context.Context, name string) (dr.Site, error)
	Catalogue func(ctx context.Context) (Catalogue, error)
	Logger    *slog.Logger

	Poll     time.Duration // how often the collector is asked for a heartbeat that is waited for; 250 ms when 0
	Patience time.Duration // how long a collector or guest agent that does not answer is waited for; 30 s when 0
}

// A Manager observes, installs and restores extensions. Its methods may be called from many goroutines at once.
type Manager struct{ o Options }

// New returns a Manager.
func New(o Options) *Manager {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Poll == 0 {
		o.Poll = 250 * time.Millisecond
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	return &Manager{o: o}
}

// inParallel is how many machines are worked on at a time.
const inParallel = 8

// place is a site as extensions see it.
type place struct {
	m         *Manager
	site      dr.Site
	settings  siteSettings
	driver    site.Driver
	commands  site.Commander // nil when the site runs none
	native    site.Extender  // nil when the site manages none itself
	collector *collector.Client
	catalogue Catalogue
}

func (m *Manager) place(ctx context.Context, name string) (place, error) {
	p := place{m: m}
	var err error
	if p.site, err = m.o.Site(ctx, name); err != nil {
		return p, err
	}
	if p.settings, err = readSite(p.site); err != nil {
		return p, err
	}
	if p.catalogue, err = m.o.Catalogue(ctx); err != nil {
		return p, err
	}
	if p.driver, err = m.o.Driver(ctx, name); err != nil {
		return p, err
	}
	p.commands, _ = p.driver.(site.Commander)
	p.native, _ = p.driver.(site.Extender)
	if p.settings.url != "" {
		token := p.settings.token
		p.collector = collector.NewClient(p.settings.url, func() (string, error) { return Secret(token) })
	}
	return p, nil
}

// knowledge is what a collector knows, at one moment.
type knowledge struct {
	collector.Instant
	rules map[string]collector.Rule
	err   error // the collector does not answer
}

func (p place) know(ctx context.Context) (k knowledge) {
	if p.collector == nil {
		k.err = dr.WithHint(fmt.Errorf("site %s has no collector", p.site.Name), dr.KindInvalid,
			fmt.Sprintf("understudy extension collector %s --url http://127.0.0.1:9101 --token file:DIR/%s", p.site.Name, collector.TokenFile))
		return k
	}
	if k.Instant, k.err = p.collector.Registrations(ctx); k.err != nil {
		return k
	}
	var rules []collector.Rule
	rules, k.err = p.collector.Rules(ctx)
	k.rules = map[string]collector.Rule{}
	for _, r := range rules {
		k.rules[r.Name] = r
	}
	return k
}

func (k knowledge) registration(machine, extension string) *collector.Registration {
	i := slices.IndexFunc(k.Registrations, func(r collector.Registration) bool { return r.Machine == machine && r.Extension == extension })
	if i < 0 {
		return nil
	}
	return &k.Registrations[i]
}

func (k knowledge) refusal(machine, extension string) *collector.Refusal {
	i := slices.IndexFunc(k.Refused, func(r collector.Refusal) bool { return r.Machine == machine && r.Extension == extension })
	if i < 0 {
		return nil
	}
	return &k.Refused[i]
}

// job is one extension of one machine.
type job struct {
	place
	machine  string // its name at the site
	entry    Entry
	handlers Handlers
	want     dr.Extension
	rules    []dr.Association // as they are to be at the site
	say      func(format string, args ...any)
}

// job finds how an extension is handled in a machine of the site.
func (p place) job(machine, name string) (job, error) {
	j := job{place: p, machine: machine, say: func(string, ...any) {}}
	var ok bool
	if j.entry, ok = p.catalogue[name]; !ok {
		return j, dr.WithHint(fmt.Errorf("extension %s is not in the catalogue", name), dr.KindNotFound, "understudy extension catalogue add FILE")
	}
	if j.handlers, ok = j.entry.Handlers[p.site.Provider]; !ok {
		return j, dr.WithHint(fmt.Errorf("extension %s has no handlers for %s machines", name, p.site.Provider), dr.KindInvalid,
			"add handlers."+p.site.Provider+" to its entry: understudy extension catalogue add FILE")
	}
	if p.commands == nil {
		return j, dr.WithHint(fmt.Errorf("site %s runs no programs in machines", p.site.Name), dr.KindInvalid, "extensions need a site that does, such as qemu")
	}
	return j, nil
}

// seen is what was found of an extension.
type seen struct {
	Detected
	said         Said
	saidErr      error // the status handler did not answer
	registration *collector.Registration
	refused      *collector.Refusal
	now          time.Time // by the collector's clock
	silent       error     // the collector does not answer
}

// look asks the machine and combines that with what the collector knows. An error says that the machine does not answer.
func (j job) look(ctx context.Context, k knowledge) (s seen, err error) {
	s.registration, s.refused = k.registration(j.machine, j.entry.Name), k.refusal(j.machine, j.entry.Name)
	s.now, s.silent = k.Now, k.err
	if s.Detected, err = j.detect(ctx); err != nil || !s.Installed {
		return s, err
	}
	s.said, s.saidErr = j.status(ctx)
	return s, nil
}

// known reports whether the site knows the extension by what it was installed with.
func (s seen) known() bool {
	return s.registration != nil && s.registration.ID == s.Registration
}

// health judges an extension by what arrived, not by what it says.
func (s seen) health(j job) (dr.ExtensionStatus, string) {
	said := fmt.Sprintf("says it is %s", s.said.Status)
	switch {
	case !s.Installed:
		return dr.ExtensionAbsent, "it is not installed"
	case s.saidErr != nil:
		return dr.ExtensionUnresponsive, s.saidErr.Error()
	case s.said.Status != saidRunning:
		if s.said.Message != "" {
			said += ": " + s.said.Message
		}
		return dr.ExtensionFailed, said
	case !j.entry.fromCollector():
		return dr.ExtensionHealthy, ""
	case s.silent != nil:
		return dr.ExtensionUnknown, s.silent.Error()
	case !s.known():
		text := fmt.Sprintf("%s, but the collector of %s does not know it", said, j.site.Name)
		if s.refused != nil {
			text += fmt.Sprintf(" and refused %s", plural(s.refused.Count, "heartbeat"))
		}
		return dr.ExtensionUnresponsive, text
	case len(s.registration.Associations) == 0:
		return dr.ExtensionUnresponsive, fmt.Sprintf("%s, but no rule of %s is associated with it", said, j.site.Name)
	case s.registration.Heartbeat == nil:
		return dr.ExtensionUnresponsive, fmt.Sprintf("%s, but no heartbeat has arrived at %s", said, j.site.Name)
	}
	if age := s.now.Sub(s.registration.Heartbeat.Received); age > dr.StaleHeartbeat {
		return dr.ExtensionUnresponsive, fmt.Sprintf("%s, but its last heartbeat arrived %s ago", said, age.Round(time.Second))
	}
	return dr.ExtensionHealthy, ""
}

func plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// extension describes what was seen as part of an inventory.
func (s seen) extension(j job, before *dr.Extension) dr.Extension {
	e := dr.Extension{
		Name: j.entry.Name, Publisher: j.entry.Publisher, Version: s.Version, Settings: maps.Clone(s.Settings),
		Protected: maps.Clone(j.entry.Protected), DependsOn: slices.Clone(j.entry.DependsOn),
	}
	for k := range j.entry.Protected {
		delete(e.Settings, k)
	}
	e.Status, e.Message = s.health(j)
	switch {
	case s.known():
		e.Associations = s.registration.Associations
		if h := s.registration.Heartbeat; h != nil {
			e.Heartbeat = h.Received
		}
	case before != nil:
		// The site does not know it yet, or the collector does not answer: what it is to be associated with is as before.
		e.Associations = before.Associations
	}
	return e
}

// Observe looks at what the machines of a site have. before holds what each had when it was last looked at, at this site
// or, after a failover, at the former one: a machine that does not answer keeps it, with unknown health. Machines that
// the site runs no programs in are left out of the answer.
func (m *Manager) Observe(ctx context.Context, siteName string, machines []string, before map[string][]dr.Extension) (map[string][]dr.Extension, error) {
	p, err := m.place(ctx, siteName)
	if err != nil {
		return nil, err
	}
	if p.commands == nil && p.native == nil {
		return nil, nil
	}
	k := p.know(ctx)
	found := map[string][]dr.Extension{}
	var mu sync.Mutex
	parallel(machines, func(machine string) {
		list := p.observe(ctx, machine, k, before[machine])
		mu.Lock()
		defer mu.Unlock()
		found[machine] = list
	})
	return found, context.Cause(ctx)
}

// agentPatience is how long a machine may take to say that it runs programs before it is not asked for each extension.
const agentPatience = 10 * time.Second

func (p place) observe(ctx context.Context, machine string, k knowledge, before []dr.Extension) []dr.Extension {
	list := []dr.Extension{}
	if p.native != nil {
		list, before = p.observeNative(ctx, machine, before)
		if p.commands == nil || !p.handles(before) {
			return list
		}
	}
	if err := p.reachable(ctx, machine); err != nil {
		for _, e := range before {
			e.Status, e.Message = dr.ExtensionUnknown, err.Error()
			list = append(list, e)
		}
		return list
	}
	for _, name := range p.catalogue.Names() {
		j, err := p.job(machine, name)
		if err != nil {
			continue // handled in other machines
		}
		was := find(before, name)
		s, err := j.look(ctx, k)
		switch {
		case err == nil && s.Installed:
			list = append(list, s.extension(j, was))
		case was != nil:
			// It must be there until somebody removes it for good. Heartbeats of what is gone are not told.
			missed := *was
			missed.Status, missed.Message, missed.Heartbeat = dr.ExtensionAbsent, "it is not installed any more", time.Time{}
			if err != nil {
				missed.Status, missed.Message, missed.Heartbeat = dr.ExtensionUnknown, err.Error(), was.Heartbeat
			}
			list = append(list, missed)
		}
	}
	// What the catalogue no longer has, or not for this site, is still wanted.
	for _, e := range before {
		if _, err := p.job(machine, e.Name); err != nil {
			e.Status, e.Message = dr.ExtensionUnknown, err.Error()
			list = append(list, e)
		}
	}
	return list
}

func (p place) reachable(ctx context.Context, machine string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, agentPatience, fmt.Errorf("the machine runs no programs within %s", agentPatience))
	defer cancel()
	return p.driver.Probe(ctx, machine, dr.Probe{Kind: dr.ProbeAgent})
}

func find(list []dr.Extension, name string) *dr.Extension {
	if i := slices.IndexFunc(list, func(e dr.Extension) bool { return e.Name == name }); i >= 0 {
		return &list[i]
	}
	return nil
}

// parallel calls f for each item, some at a time, and waits for all.
func parallel[T any](items []T, f func(T)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, inParallel)
	for _, it := range items {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(it)
		})
	}
	wg.Wait()
}

// eventually calls f until it works, fails for good, or patience or ctx ends.
func (m *Manager) eventually(ctx context.Context, f func() error) error {
	deadline := time.Now().Add(m.o.Patience)
	for wait := m.o.Poll; ; wait = min(2*wait, 2*time.Second) {
		err := f()
		if err == nil || dr.KindOf(err) != dr.KindUnavailable || time.Now().After(deadline) {
			return err
		}
		if e := sleep(ctx, wait); e != nil {
			return errors.Join(e, err)
		}
	}
}
