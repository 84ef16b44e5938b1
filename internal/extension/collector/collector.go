// Package collector is a site's collector of heartbeats: a small monitoring service over HTTP, and the client of its
// administration. A site knows an agent by a registration (machine and extension), to which belong a token that the
// agent shows and associations with data-collection rules, which say what the agent collects and how often. Heartbeats
// of agents that are not registered, or are associated with no rule, are refused: nothing on a machine's disks makes
// another site accept it.
//
// What an administrator did is on the disk before it is answered. Heartbeats are saved now and then: a crash forgets
// the last seconds of them, and the next ones bring them back.
package collector

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"understudy/internal/dr"
)

// A Rule is a data-collection rule: what the agents associated with it collect, and how often.
type Rule struct {
	Name    string   `json:"name"`
	Seconds float64  `json:"seconds"`           // between heartbeats
	Metrics []string `json:"metrics,omitempty"` // all that the agent has when empty
}

// A Registration is an agent that the site knows.
type Registration struct {
	Machine      string           `json:"machine"`
	Extension    string           `json:"extension"`
	ID           string           `json:"id"` // of this registration: another one of the same agent has another
	Registered   time.Time        `json:"registered"`
	Associations []dr.Association `json:"associations,omitempty"`
	Heartbeat    *Heartbeat       `json:"heartbeat,omitempty"` // the newest that was accepted under this ID

	// Token is what the agent shows; only in the answer to its registration.
	Token string `json:"token,omitempty"`
}

// A Heartbeat is the newest sign of life of an agent.
type Heartbeat struct {
	Received time.Time          `json:"received"` // by the collector's clock
	Count    uint64             `json:"count"`    // how many came; a crash of the collector forgets the last of them
	Version  string             `json:"version,omitempty"`
	Metrics  map[string]float64 `json:"metrics,omitempty"`
}

// A Refusal is an agent whose heartbeats are not accepted. Machine and extension are what it says it is.
type Refusal struct {
	Machine   string    `json:"machine"`
	Extension string    `json:"extension"`
	Count     uint64    `json:"count"`
	Last      time.Time `json:"last"`
	Reason    string    `json:"reason"`
}

// Config configures a Collector.
type Config struct {
	Dir    string // its folder; made when missing
	Now    func() time.Time
	Logger *slog.Logger
}

// A Collector is an open collector. Its methods may be called from many goroutines at once.
type Collector struct {
	cfg   Config
	admin string    // token
	held  io.Closer // the folder's lock

	mu       sync.Mutex
	state    state
	tokens   map[[sha256.Size]byte]key // of registrations
	refusals map[key]*Refusal
	dirty    bool // heartbeats came since the last save
}

type key struct{ machine, extension string }

func (k key) String() string { return k.machine + "/" + k.extension }

// Limits, so that no guest fills the memory of its site.
const (
	maxRegistrations = 100_000
	maxRefusals      = 1000
	maxMetrics       = 64
)

var nameRule = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

func checkName(what, name string) error {
	if !nameRule.MatchString(name) {
		return dr.WithHint(fmt.Errorf("%s %q: not 1 to 63 letters, digits, '-', '_' and '.'", what, name), dr.KindInvalid, "choose another name")
	}
	return nil
}

// secret makes a token of 256 random bits.
func secret(prefix string) string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return prefix + base64.RawURLEncoding.EncodeToString(b[:])
}

// CheckAdmin reports whether a token is the administrator's.
func (c *Collector) CheckAdmin(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(c.admin)) == 1
}

// Rules lists the rules by name.
func (c *Collector) Rules() []Rule {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]Rule, 0, len(c.state.Rules))
	for _, name := range slices.Sorted(maps.Keys(c.state.Rules)) {
		list = append(list, c.state.Rules[name])
	}
	return list
}

// PutRule adds a rule or changes it.
func (c *Collector) PutRule(r Rule) error {
	if err := checkName("rule", r.Name); err != nil {
		return err
	}
	if r.Seconds < 0.1 || r.Seconds > 3600 {
		return dr.WithHint(fmt.Errorf("rule %s: an interval of %g s is not between 0.1 s and 1 h", r.Name, r.Seconds), dr.KindInvalid, "an interval of 60 s suits most")
	}
	return c.change(func(s *state) error { s.Rules[r.Name] = r; return nil })
}

// DeleteRule removes a rule that no registration is associated with.
func (c *Collector) DeleteRule(name string) error {
	return c.change(func(s *state) error {
		if _, ok := s.Rules[name]; !ok {
			return noRule(name)
		}
		for k, r := range s.Registrations {
			if slices.ContainsFunc(r.Associations, func(a dr.Association) bool { return a.Rule == name }) {
				return dr.WithHint(fmt.Errorf("rule %s: %s is associated with it", name, k), dr.KindConflict, "end the association first")
			}
		}
		delete(s.Rules, name)
		return nil
	})
}

func noRule(name string) error {
	return dr.WithHint(fmt.Errorf("no rule named %q", name), dr.KindNotFound, "understudy collector rule list")
}

// Registrations lists what is registered, by machine and extension.
func (c *Collector) Registrations() []Registration {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]Registration, 0, len(c.state.Registrations))
	for _, r := range c.state.Registrations {
		list = append(list, r.public())
	}
	slices.SortFunc(list, func(a, b Registration) int {
		return strings.Compare(a.Machine+"/"+a.Extension, b.Machine+"/"+b.Extension)
	})
	return list
}

// Registration returns what is registered of a machine's extension.
func (c *Collector) Registration(machine, extension string) (Registration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.state.Registrations[key{machine, extension}]
	if !ok {
		return Registration{}, notRegistered(key{machine, extension})
	}
	return r.public(), nil
}

func notRegistered(k key) error {
	return dr.WithHint(fmt.Errorf("%s is not registered", k), dr.KindNotFound, "understudy collector list")
}

// Register registers a machine's extension anew: with another ID and token, and the associations it had. What was known
// under the former ID is refused from now on.
func (c *Collector) Register(machine, extension string) (Registration, error) {
	if err := errors.Join(checkName("machine", machine), checkName("extension", extension)); err != nil {
		return Registration{}, err
	}
	var id [8]byte
	rand.Read(id[:])
	r := &registration{Registration: Registration{
		Machine: machine, Extension: extension, ID: hex.EncodeToString(id[:]), Registered: c.cfg.Now().UTC(), Token: secret("uc_"),
	}}
	r.Hash = sha256.Sum256([]byte(r.Token))
	k := key{machine, extension}
	err := c.change(func(s *state) error {
		if old := s.Registrations[k]; old != nil {
			r.Associations = old.Associations
		} else if len(s.Registrations) >= maxRegistrations {
			return dr.WithHint(fmt.Errorf("register %s: there are %d registrations already", k, maxRegistrations), dr.KindConflict, "remove what is not needed")
		}
		kept := *r
		kept.Token = ""
		s.Registrations[k] = &kept
		return nil
	})
	if err != nil {
		return Registration{}, err
	}
	c.mu.Lock()
	delete(c.refusals, k)
	c.mu.Unlock()
	return r.Registration, nil
}

// Unregister forgets a machine's extension. One that is not registered is no error.
func (c *Collector) Unregister(machine, extension string) error {
	return c.change(func(s *state) error { delete(s.Registrations, key{machine, extension}); return nil })
}

// Associate ties a registration to a rule under a name; another association of that name is replaced.
func (c *Collector) Associate(machine, extension string, a dr.Association) error {
	if err := checkName("association", a.Name); err != nil {
		return err
	}
	return c.changeRegistration(machine, extension, func(s *state, r *registration) error {
		if _, ok := s.Rules[a.Rule]; !ok {
			return noRule(a.Rule)
		}
		r.Associations = append(without(r.Associations, a.Name), a)
		slices.SortFunc(r.Associations, func(a, b dr.Association) int { return strings.Compare(a.Name, b.Name) })
		return nil
	})
}

// Dissociate ends an association. One that does not exist is no error.
func (c *Collector) Dissociate(machine, extension, name string) error {
	return c.changeRegistration(machine, extension, func(_ *state, r *registration) error {
		r.Associations = without(r.Associations, name)
		return nil
	})
}

func without(list []dr.Association, name string) []dr.Association {
	return slices.DeleteFunc(slices.Clone(list), func(a dr.Association) bool { return a.Name == name })
}

func (c *Collector) changeRegistration(machine, extension string, f func(*state, *registration) error) error {
	return c.change(func(s *state) error {
		k := key{machine, extension}
		old := s.Registrations[k]
		if old == nil {
			return notRegistered(k)
		}
		r := *old
		if err := f(s, &r); err != nil {
			return err
		}
		s.Registrations[k] = &r
		return nil
	})
}

// Refusals lists whose heartbeats are refused, by machine and extension.
func (c *Collector) Refusals() []Refusal {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]Refusal, 0, len(c.refusals))
	for _, r := range c.refusals {
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b Refusal) int {
		return strings.Compare(a.Machine+"/"+a.Extension, b.Machine+"/"+b.Extension)
	})
	return list
}

// A Beat is what an agent sends.
type Beat struct {
	Machine   string             `json:"machine"` // who it says it is; what counts is the token
	Extension string             `json:"extension"`
	Version   string             `json:"version,omitempty"`
	Metrics   map[string]float64 `json:"metrics,omitempty"`
}

// Why heartbeats are refused.
var (
	errUnknown      = errors.New("its token is of no registration at this site")
	errUnassociated = errors.New("it is registered, but associated with no rule")
)

// Receive takes a heartbeat and returns the rules that its agent is to follow.
func (c *Collector) Receive(token string, b Beat) ([]Rule, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now().UTC()
	k, ok := c.tokens[sha256.Sum256([]byte(token))]
	if !ok {
		return nil, c.refuse(key{b.Machine, b.Extension}, now, errUnknown)
	}
	r := c.state.Registrations[k]
	if len(r.Associations) == 0 {
		return nil, c.refuse(k, now, errUnassociated)
	}
	h := &Heartbeat{Received: now, Count: 1, Version: b.Version, Metrics: b.Metrics}
	if r.Heartbeat != nil {
		h.Count += r.Heartbeat.Count
	}
	if len(h.Metrics) > maxMetrics {
		h.Metrics = nil
	}
	r.Heartbeat = h
	c.dirty = true
	delete(c.refusals, k)
	var rules []Rule
	for _, a := range r.Associations {
		rules = append(rules, c.state.Rules[a.Rule])
	}
	return rules, nil
}

// refuse notes a refusal. It needs the lock.
func (c *Collector) refuse(k key, now time.Time, why error) error {
	if errors.Join(checkName("machine", k.machine), checkName("extension", k.extension)) == nil {
		f := c.refusals[k]
		if f == nil && len(c.refusals) < maxRefusals {
			f = &Refusal{Machine: k.machine, Extension: k.extension}
			c.refusals[k] = f
		}
		if f != nil {
			f.Count++
			f.Last, f.Reason = now, why.Error()
		}
	}
	return why
}
