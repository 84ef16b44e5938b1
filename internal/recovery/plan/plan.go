// Package plan describes recovery plans: the order in which the machines of a group start, and what is done before,
// between and after. It reads them from YAML, says with line and column what is wrong, and draws them. It carries
// nothing out.
package plan

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"understudy/internal/dr"
)

// A Plan brings the machines of one group up in order. All machines are created first; then each stage starts its
// machines at the same time and waits for their health before the next one begins.
type Plan struct {
	Name        string            `json:"name" yaml:"name"`
	Group       string            `json:"group" yaml:"group"`
	Description string            `json:"description,omitempty" yaml:"description,omitempty"`
	Variables   map[string]string `json:"variables,omitempty" yaml:"variables,omitempty"`
	// Secrets says where values are found that are neither in the plan nor kept anywhere else.
	Secrets map[string]Secret `json:"secrets,omitempty" yaml:"secrets,omitempty"`

	// Before is done before anything is changed: the source still runs and may be kept.
	Before []Action `json:"before,omitempty" yaml:"before,omitempty"`
	Stages []Stage  `json:"stages" yaml:"stages"`
	// After is done when all machines are healthy.
	After []Action `json:"after,omitempty" yaml:"after,omitempty"`
}

// A Stage is a set of machines that start at the same time.
type Stage struct {
	Name     string   `json:"name" yaml:"name"`
	Machines []string `json:"machines,omitempty" yaml:"machines,omitempty"`
	Before   []Action `json:"before,omitempty" yaml:"before,omitempty"` // before they start
	After    []Action `json:"after,omitempty" yaml:"after,omitempty"`   // when they are healthy
}

// A Secret is a reference to a value: an environment variable of the controller or a file that it can read. A newline
// at the end of the file does not count. Exactly one is set.
type Secret struct {
	Env  string `json:"env,omitempty" yaml:"env,omitempty"`
	File string `json:"file,omitempty" yaml:"file,omitempty"`
}

// An Action is something that is done once. Exactly one of its kinds is set.
type Action struct {
	Name string `json:"name" yaml:"name"` // unique in the plan

	Script     *Script     `json:"script,omitempty" yaml:"script,omitempty"`
	Guest      *Guest      `json:"guest,omitempty" yaml:"guest,omitempty"`
	HTTP       *HTTP       `json:"http,omitempty" yaml:"http,omitempty"`
	Wait       Duration    `json:"wait,omitempty" yaml:"wait,omitempty"`
	Approval   *Approval   `json:"approval,omitempty" yaml:"approval,omitempty"`
	Extensions *Extensions `json:"extensions,omitempty" yaml:"extensions,omitempty"`
	Probe      *Probe      `json:"probe,omitempty" yaml:"probe,omitempty"`

	// Timeout bounds each attempt, or how long an approval may take; Limit is what holds when it is 0.
	Timeout Duration `json:"timeout,omitempty" yaml:"timeout,omitempty"`
	// Retries is how often a failed attempt is repeated, after Backoff, which doubles up to a minute; 1 s when 0.
	Retries int      `json:"retries,omitempty" yaml:"retries,omitempty"`
	Backoff Duration `json:"backoff,omitempty" yaml:"backoff,omitempty"`
	// OnError says what a failure means; Fail when empty.
	OnError OnError `json:"onError,omitempty" yaml:"onError,omitempty"`
	// Repeatable says that doing it twice does no harm: an attempt that was under way when the controller died is done
	// again. Without it the outcome of such an attempt is unknown, and counts as a failure that is not retried.
	Repeatable bool `json:"repeatable,omitempty" yaml:"repeatable,omitempty"`
	When       When `json:"when,omitzero" yaml:"when,omitempty"`
}

// Script runs a program on the controller: Argv, or Text by its first line (#!) or else by sh. It gets the context as
// JSON on standard input and in the file that UNDERSTUDY_CONTEXT names.
type Script struct {
	Argv []string          `json:"argv,omitempty" yaml:"argv,omitempty"`
	Text string            `json:"text,omitempty" yaml:"text,omitempty"`
	Env  map[string]string `json:"env,omitempty" yaml:"env,omitempty"`
	Dir  string            `json:"dir,omitempty" yaml:"dir,omitempty"` // working folder; an empty one of its own when ""
}

// Guest runs a program in a machine that was brought up. It gets the context as JSON on standard input.
type Guest struct {
	Machine string            `json:"machine" yaml:"machine"`
	Command []string          `json:"command" yaml:"command"`
	Env     map[string]string `json:"env,omitempty" yaml:"env,omitempty"`
}

// HTTP sends a request. It succeeds with a status in Expect, or any of 2xx when that is empty.
type HTTP struct {
	Method  string            `json:"method,omitempty" yaml:"method,omitempty"` // GET, or POST with a body, when empty
	URL     string            `json:"url" yaml:"url"`
	Headers map[string]string `json:"headers,omitempty" yaml:"headers,omitempty"`
	Body    string            `json:"body,omitempty" yaml:"body,omitempty"`
	Expect  []int             `json:"expect,omitempty" yaml:"expect,omitempty"`
}

// Approval waits for a person.
type Approval struct {
	Message string `json:"message,omitempty" yaml:"message,omitempty"` // what is asked
}

// Extensions makes the extensions of machines healthy, as recorded with the recovery point.
type Extensions struct {
	Machines []string `json:"machines,omitempty" yaml:"machines,omitempty"` // all when empty
}

// Probe waits until a machine is healthy, as the probe of a machine's policy does.
type Probe struct {
	Machine string       `json:"machine" yaml:"machine"`
	Kind    dr.ProbeKind `json:"kind" yaml:"kind"`
	Port    int          `json:"port,omitempty" yaml:"port,omitempty"`
	Path    string       `json:"path,omitempty" yaml:"path,omitempty"`
	Text    string       `json:"text,omitempty" yaml:"text,omitempty"`
}

// When limits an action to kinds and directions of failover; an empty list means all.
type When struct {
	Kinds      []Kind      `json:"kinds,omitempty" yaml:"kinds,omitempty"`
	Directions []Direction `json:"directions,omitempty" yaml:"directions,omitempty"`
}

// Kind is a kind of failover.
type Kind string

// Kinds of failover.
const (
	Test      Kind = "test"
	Planned   Kind = "planned"
	Unplanned Kind = "unplanned"
)

// Direction is where a failover goes.
type Direction string

// Directions.
const (
	Failover Direction = "failover"
	Failback Direction = "failback" // to where the group was first protected
)

// OnError says what the failure of an action means.
type OnError string

// What a failure means.
const (
	Fail     OnError = "fail"     // the run fails
	Continue OnError = "continue" // it is reported and the run goes on
	Ask      OnError = "ask"      // a person says whether to retry, to skip or to cancel
)

// Duration is a time in text such as "30s" or "1d".
type Duration time.Duration

// MarshalText writes the duration.
func (d Duration) MarshalText() ([]byte, error) {
	return []byte(dr.FormatDuration(time.Duration(d))), nil
}

// UnmarshalYAML reads a duration; an error says where it is.
func (d *Duration) UnmarshalYAML(n ast.Node) error {
	err := d.UnmarshalText([]byte(n.GetToken().Value))
	if err == nil {
		return nil
	}
	return &yaml.SyntaxError{Message: err.Error() + `: use a time such as "30s" or "5m"`, Token: n.GetToken()}
}

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := dr.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// Applies reports whether the action is for a kind and direction of failover.
func (a Action) Applies(k Kind, d Direction) bool {
	return (len(a.When.Kinds) == 0 || slices.Contains(a.When.Kinds, k)) &&
		(len(a.When.Directions) == 0 || slices.Contains(a.When.Directions, d))
}

// Kind names what the action does: script, guest, http, wait, approval, extensions or probe; empty when it has none.
func (a Action) Kind() string {
	if kinds := a.kinds(); len(kinds) > 0 {
		return kinds[0]
	}
	return ""
}

func (a Action) kinds() (set []string) {
	for _, k := range []struct {
		name string
		set  bool
	}{
		{"script", a.Script != nil}, {"guest", a.Guest != nil}, {"http", a.HTTP != nil}, {"wait", a.Wait != 0},
		{"approval", a.Approval != nil}, {"extensions", a.Extensions != nil}, {"probe", a.Probe != nil},
	} {
		if k.set {
			set = append(set, k.name)
		}
	}
	return set
}

// Limit is how long an attempt of the action may take; 0 for no limit.
func (a Action) Limit() time.Duration {
	limit := time.Duration(a.Timeout)
	switch a.Kind() {
	case "script", "guest":
		return cmp.Or(limit, 10*time.Minute)
	case "http":
		return cmp.Or(limit, 30*time.Second)
	case "extensions":
		return cmp.Or(limit, 15*time.Minute)
	case "probe":
		return cmp.Or(limit, 2*time.Minute)
	}
	return limit // of an approval; a wait has its own
}

// Harmless reports whether an attempt whose outcome is not known may be done again.
func (a Action) Harmless() bool {
	return a.Repeatable || a.Wait != 0 || a.Approval != nil || a.Extensions != nil || a.Probe != nil
}

// OnFailure is what a failure of the action means.
func (a Action) OnFailure() OnError { return cmp.Or(a.OnError, Fail) }

// Actions are all actions of the plan in the order in which they are done.
func (p Plan) Actions() []Action {
	all := slices.Clone(p.Before)
	for _, s := range p.Stages {
		all = append(append(all, s.Before...), s.After...)
	}
	return append(all, p.After...)
}

// ActsAsController reports whether the plan has the controller run programs or read secrets, with all of its rights.
func (p Plan) ActsAsController() bool {
	return len(p.Secrets) > 0 || slices.ContainsFunc(p.Actions(), func(a Action) bool { return a.Script != nil })
}

// Same reports whether two plans mean the same, whatever their text.
func (p Plan) Same(q Plan) bool {
	p.Description, q.Description = "", ""
	a, errA := json.Marshal(p)
	b, errB := json.Marshal(q)
	return errA == nil && errB == nil && string(a) == string(b)
}
