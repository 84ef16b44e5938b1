// Package extension keeps software in machines healthy where a copy of the disks is not enough: agents that a site
// knows by a registration and ties to rules of its own, which survive a failover looking alive and are dead. A catalogue
// says, per provider, how to detect, install, remove and ask an extension. The Manager observes what machines have (the
// inventory that goes with every recovery point) and, after a failover, restores it: what is stale is removed, installed
// again, registered at the new site, associated with the counterparts of its rules, and believed only when a fresh
// heartbeat has arrived at that site's collector.
package extension

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"understudy/internal/dr"
	"understudy/internal/yamlpath"
)

// An Entry of the catalogue says what an extension is and how it is handled.
type Entry struct {
	Name        string            `yaml:"name" json:"name"`
	Publisher   string            `yaml:"publisher,omitempty" json:"publisher,omitempty"`
	Version     string            `yaml:"version" json:"version"`
	Description string            `yaml:"description,omitempty" json:"description,omitempty"`
	DependsOn   []string          `yaml:"dependsOn,omitempty" json:"dependsOn,omitempty"` // must be healthy before
	Settings    map[string]string `yaml:"settings,omitempty" json:"settings,omitempty"`   // where a machine has none of its own
	// Protected settings are secrets, by reference: env:NAME or file:PATH at the controller.
	Protected map[string]string   `yaml:"protected,omitempty" json:"protected,omitempty"`
	Heartbeat HeartbeatRule       `yaml:"heartbeat,omitempty" json:"heartbeat"`
	Handlers  map[string]Handlers `yaml:"handlers" json:"handlers"` // by provider
}

// HeartbeatRule says where signs of life come from.
type HeartbeatRule struct {
	// From is "collector": they arrive at the site's collector; or "none": what the status handler says is believed.
	From string `yaml:"from,omitempty" json:"from"`
	// Within is how long the first one may take after an install; 2 minutes when empty.
	Within string `yaml:"within,omitempty" json:"within,omitempty"`
}

// Where heartbeats come from.
const (
	FromCollector = "collector"
	FromNone      = "none"
)

// Handlers are programs in the machine. Each gets a Call as JSON on its standard input and exits with 0 when it did what
// it is for; detect and status answer with a Detected and a Said on standard output.
type Handlers struct {
	Detect  []string `yaml:"detect" json:"detect"`
	Status  []string `yaml:"status" json:"status"`
	Install []string `yaml:"install" json:"install"`
	Remove  []string `yaml:"remove" json:"remove"`
	Timeout string   `yaml:"timeout,omitempty" json:"timeout,omitempty"` // of each; 1 minute when empty
}

// Defaults of times that an entry leaves out.
const (
	defaultWithin  = 2 * time.Minute
	defaultTimeout = time.Minute
)

func (e Entry) within() time.Duration { return durationOr(e.Heartbeat.Within, defaultWithin) }

func (h Handlers) timeout() time.Duration { return durationOr(h.Timeout, defaultTimeout) }

// durationOr reads a duration that was checked when the entry was parsed.
func durationOr(text string, otherwise time.Duration) time.Duration {
	if d, err := dr.ParseDuration(text); err == nil && d > 0 {
		return d
	}
	return otherwise
}

func (e Entry) fromCollector() bool { return e.Heartbeat.From == FromCollector }

// A Catalogue is entries by name.
type Catalogue map[string]Entry

//go:embed builtin/*.yaml
var builtin embed.FS

// Builtin returns the entries that come with the program.
func Builtin() (Catalogue, error) {
	c := Catalogue{}
	names, err := fs.Glob(builtin, "builtin/*.yaml")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := builtin.ReadFile(name)
		if err != nil {
			return nil, err
		}
		e, err := Parse(name, text)
		if err != nil {
			return nil, err
		}
		c[e.Name] = e
	}
	return c, nil
}

// With returns the catalogue with more entries, which replace those of the same name.
func (c Catalogue) With(more ...Entry) Catalogue {
	all := maps.Clone(c)
	for _, e := range more {
		all[e.Name] = e
	}
	return all
}

// Names lists the entries so that each comes after those it depends on. What depends on itself comes last, by name.
func (c Catalogue) Names() []string {
	var out []string
	left := slices.Sorted(maps.Keys(c))
	for len(left) > 0 {
		n := len(left)
		left = slices.DeleteFunc(left, func(name string) bool {
			for _, d := range c[name].DependsOn {
				if _, known := c[d]; known && !slices.Contains(out, d) {
					return false
				}
			}
			out = append(out, name)
			return true
		})
		if len(left) == n {
			return append(out, left...)
		}
	}
	return out
}

// Check says what is wrong between entries: an extension that depends on one that does not exist, or on itself.
func (c Catalogue) Check() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c)) {
		for _, d := range c[name].DependsOn {
			if _, ok := c[d]; !ok {
				errs = append(errs, fmt.Errorf("extension %s depends on %s, which is not in the catalogue", name, d))
			}
		}
		if c.reaches(name, name, map[string]bool{}) {
			errs = append(errs, fmt.Errorf("extension %s depends on itself", name))
		}
	}
	return dr.WithHint(errors.Join(errs...), dr.KindInvalid, "understudy extension catalogue list")
}

func (c Catalogue) reaches(from, to string, seen map[string]bool) bool {
	for _, d := range c[from].DependsOn {
		if d == to {
			return true
		}
		if !seen[d] {
			seen[d] = true
			if c.reaches(d, to, seen) {
				return true
			}
		}
	}
	return false
}

// maxEntry is many times the size of a real entry, in bytes.
const maxEntry = 64 << 10

var nameRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// Parse reads and checks an entry. Errors say file:line:column and the field.
func Parse(file string, text []byte) (Entry, error) {
	var e Entry
	if len(text) > maxEntry {
		return e, dr.WithHint(fmt.Errorf("%s: larger than %d bytes, so no extension", file, maxEntry), dr.KindInvalid, "see docs/extensions.md")
	}
	dec := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict(), yaml.DisallowUnknownField())
	if err := dec.Decode(&e); err != nil {
		return e, yamlError(file, err)
	}
	if err := dec.Decode(&Entry{}); !errors.Is(err, io.EOF) {
		return e, dr.WithHint(fmt.Errorf("%s: more than one document", file), dr.KindInvalid, "write each extension to a file of its own")
	}
	p := &parser{file: file, text: text}
	p.entry(&e)
	return e, errors.Join(p.errs...)
}

func yamlError(file string, err error) error {
	if errors.Is(err, io.EOF) {
		err = errors.New("it is empty")
	}
	var ye yaml.Error
	if errors.As(err, &ye) && ye.GetToken() != nil {
		at := ye.GetToken().Position
		return dr.WithHint(fmt.Errorf("%s:%d:%d: %s", file, at.Line, at.Column, ye.GetMessage()), dr.KindInvalid, "see docs/extensions.md")
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return dr.WithHint(fmt.Errorf("%s: %s", file, text), dr.KindInvalid, "see docs/extensions.md")
}

// parser collects what is wrong with an entry.
type parser struct {
	file string
	text []byte
	errs []error
}

// bad records an error at a YAML path such as $.handlers.qemu.
func (p *parser) bad(at, hint, format string, args ...any) {
	err := fmt.Errorf("%s%s: %s: %w", p.file, yamlpath.Position(p.text, at), strings.TrimPrefix(at, "$."), fmt.Errorf(format, args...))
	p.errs = append(p.errs, dr.WithHint(err, dr.KindInvalid, hint))
}

func (p *parser) entry(e *Entry) {
	if !nameRule.MatchString(e.Name) {
		p.bad("$.name", "name: metrics-agent", "%q is not 1 to 63 lower-case letters, digits, '-' and '.'", e.Name)
	}
	if e.Version == "" {
		p.bad("$.version", "version: 1.0.0", "it is missing")
	}
	switch e.Heartbeat.From {
	case "":
		e.Heartbeat.From = FromCollector
	case FromCollector, FromNone:
	default:
		p.bad("$.heartbeat.from", "from: collector", "%q is not collector or none", e.Heartbeat.From)
	}
	p.duration("$.heartbeat.within", e.Heartbeat.Within)
	for _, name := range slices.Sorted(maps.Keys(e.Protected)) {
		if err := CheckReference(e.Protected[name]); err != nil {
			p.bad("$.protected."+name, name+": file:/etc/understudy/"+name, "%w", err)
		}
		if _, ok := e.Settings[name]; ok {
			p.bad("$.settings."+name, "keep it under protected", "it is protected, too")
		}
	}
	if len(e.Handlers) == 0 {
		p.bad("$.handlers", "handlers: {qemu: {detect: [PROGRAM, ARGUMENT], status: ..., install: ..., remove: ...}}", "there are none")
	}
	for _, provider := range slices.Sorted(maps.Keys(e.Handlers)) {
		h := e.Handlers[provider]
		at := "$.handlers." + provider
		for _, part := range []struct {
			name string
			argv []string
		}{{"detect", h.Detect}, {"status", h.Status}, {"install", h.Install}, {"remove", h.Remove}} {
			if len(part.argv) == 0 || part.argv[0] == "" {
				p.bad(at+"."+part.name, part.name+": [PROGRAM, ARGUMENT]", "there is no program")
			}
		}
		p.duration(at+".timeout", h.Timeout)
	}
}

func (p *parser) duration(at, text string) {
	if text == "" {
		return
	}
	if d, err := dr.ParseDuration(text); err != nil || d <= 0 {
		p.bad(at, "write it as 30s or 2m", "%q is no length of time", text)
	}
}
