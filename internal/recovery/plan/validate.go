package plan

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"understudy/internal/dr"
)

// names are lower-case words, as those of groups and policies.
var (
	planName   = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	refName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	maxName    = 100
	maxStages  = 100
	maxActions = 1000
)

// A validator collects what is wrong.
type validator struct {
	doc      *document
	problems *Problems
	machines []string // of the group, when known
	known    bool
	plannedN map[string]string // machine to its stage
	p        Plan
}

func (v *validator) say(path []any, hint, format string, args ...any) {
	p := Problem{Field: key(path...), What: fmt.Sprintf(format, args...), Hint: hint}
	p.Line, p.Column = v.doc.at(path...)
	v.problems.List = append(v.problems.List, p)
}

func at(path []any, more ...any) []any { return append(slices.Clone(path), more...) }

func (v *validator) plan(p Plan) {
	v.p, v.plannedN = p, map[string]string{}
	if !planName.MatchString(p.Name) {
		v.say([]any{"name"}, "", "%q is no name of a plan: use lower-case letters, digits and '-', at most 63", p.Name)
	}
	if p.Group == "" {
		v.say([]any{"group"}, "", "missing: the group that the plan recovers")
	}
	for _, name := range slices.Sorted(maps.Keys(p.Variables)) {
		if !refName.MatchString(name) {
			v.say([]any{"variables", name}, "", "%q is no name of a variable: use letters, digits and '_'", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Secrets)) {
		s := p.Secrets[name]
		path := []any{"secrets", name}
		if !refName.MatchString(name) {
			v.say(path, "", "%q is no name of a secret: use letters, digits and '_'", name)
		}
		if (s.Env == "") == (s.File == "") {
			v.say(path, "", "give one of env and file: where the controller finds the value")
		}
	}
	if len(p.Stages) == 0 {
		v.say([]any{"stages"}, "", "missing: a plan has one stage at least")
	}
	if len(p.Stages) > maxStages {
		v.say([]any{"stages"}, "", "%d stages, more than %d", len(p.Stages), maxStages)
	}
	if n := len(p.Actions()); n > maxActions {
		v.say(nil, "", "%d actions, more than %d", n, maxActions)
	}
	actions := map[string]bool{}
	v.actions([]any{"before"}, p.Before, actions, -1)
	stages := map[string]bool{}
	for i, s := range p.Stages {
		v.stage([]any{"stages", i}, i, s, stages, actions)
	}
	v.actions([]any{"after"}, p.After, actions, len(p.Stages))
	if v.known {
		for _, m := range v.machines {
			if v.plannedN[m] == "" {
				v.say([]any{"stages"}, "", "machine %s of group %s is in no stage: it would not be started", m, p.Group)
			}
		}
	}
}

func (v *validator) stage(path []any, number int, s Stage, stages, actions map[string]bool) {
	name := s.Name
	switch {
	case name == "" || len(name) > maxName:
		v.say(at(path, "name"), "", "a stage needs a name of at most %d bytes", maxName)
		name = "stage " + strconv.Itoa(number+1)
	case stages[name]:
		v.say(at(path, "name"), "", "stage %q is there twice", name)
	}
	stages[name] = true
	for j, m := range s.Machines {
		where := at(path, "machines", j)
		switch {
		case m == "":
			v.say(where, "", "a machine needs a name")
		case v.plannedN[m] != "":
			v.say(where, "", "machine %s is in stage %q already", m, v.plannedN[m])
		case v.known && !slices.Contains(v.machines, m):
			v.say(where, "", "group %s has no machine %s (it has %s)", v.p.Group, m, strings.Join(v.machines, ", "))
		}
		v.plannedN[m] = name
	}
	if len(s.Machines)+len(s.Before)+len(s.After) == 0 {
		v.say(path, "", "stage %q does nothing: give it machines or actions", name)
	}
	v.actions(at(path, "before"), s.Before, actions, number)
	v.actions(at(path, "after"), s.After, actions, number+1)
}

// actions checks a list of actions; started is how many stages are up when they are done, -1 before anything is.
func (v *validator) actions(path []any, list []Action, names map[string]bool, started int) {
	for i, a := range list {
		v.action(at(path, i), a, names, started)
	}
}

func (v *validator) action(path []any, a Action, names map[string]bool, started int) {
	switch {
	case a.Name == "" || len(a.Name) > maxName || strings.ContainsFunc(a.Name, func(r rune) bool { return r < ' ' }):
		v.say(at(path, "name"), "", "an action needs a name of one line, at most %d bytes", maxName)
	case names[a.Name]:
		v.say(at(path, "name"), "", "action %q is there twice: the name tells what was done already", a.Name)
	}
	names[a.Name] = true
	kinds := a.kinds()
	if len(kinds) != 1 {
		what := "says nothing to do"
		if len(kinds) > 1 {
			what = "is " + strings.Join(kinds, " and ") + " at once"
		}
		v.say(path, "", "action %q %s: give one of script, guest, http, wait, approval, extensions, probe", a.Name, what)
	}
	v.options(path, a)
	switch {
	case a.Script != nil:
		v.script(at(path, "script"), a.Script)
	case a.Guest != nil:
		v.machine(at(path, "guest", "machine"), a.Guest.Machine, started)
		v.argv(at(path, "guest", "command"), a.Guest.Command)
		v.env(at(path, "guest", "env"), a.Guest.Env)
	case a.HTTP != nil:
		v.http(at(path, "http"), a.HTTP)
	case a.Approval != nil:
		v.refs(at(path, "approval", "message"), a.Approval.Message, false)
	case a.Extensions != nil:
		for i, m := range a.Extensions.Machines {
			v.machine(at(path, "extensions", "machines", i), m, started)
		}
		if started <= 0 {
			v.say(at(path, "extensions"), "put it after a stage, or in the plan's after", "no machine runs yet")
		}
	case a.Probe != nil:
		v.probe(at(path, "probe"), a.Probe, started)
	}
}

func (v *validator) options(path []any, a Action) {
	for name, d := range map[string]Duration{"timeout": a.Timeout, "backoff": a.Backoff, "wait": a.Wait} {
		if d < 0 {
			v.say(at(path, name), "", "a time cannot be negative")
		}
	}
	if a.Retries < 0 || a.Retries > 1000 {
		v.say(at(path, "retries"), "", "%d: between 0 and 1000", a.Retries)
	}
	if !slices.Contains([]OnError{"", Fail, Continue, Ask}, a.OnError) {
		v.say(at(path, "onError"), "", "%q: use fail, continue or ask", a.OnError)
	}
	for i, k := range a.When.Kinds {
		if !slices.Contains([]Kind{Test, Planned, Unplanned}, k) {
			v.say(at(path, "when", "kinds", i), "", "%q: use test, planned or unplanned", k)
		}
	}
	for i, d := range a.When.Directions {
		if d != Failover && d != Failback {
			v.say(at(path, "when", "directions", i), "", "%q: use failover or failback", d)
		}
	}
	if a.Wait != 0 && (a.Timeout != 0 || a.Retries != 0) {
		v.say(at(path, "wait"), "", "a wait has no timeout and no retries")
	}
	if a.Approval != nil && a.Retries != 0 {
		v.say(at(path, "retries"), "", "an approval is not retried")
	}
}

func (v *validator) script(path []any, s *Script) {
	if (len(s.Argv) == 0) == (s.Text == "") {
		v.say(path, "", "give one of argv (a program and its arguments) and text (a script)")
	}
	if len(s.Argv) > 0 {
		v.argv(at(path, "argv"), s.Argv)
	}
	v.refs(at(path, "text"), s.Text, false)
	v.refs(at(path, "dir"), s.Dir, false)
	v.env(at(path, "env"), s.Env)
}

func (v *validator) argv(path []any, argv []string) {
	if len(argv) == 0 || argv[0] == "" {
		v.say(path, "", "missing: a program and its arguments")
	}
	for i, arg := range argv {
		v.refs(at(path, i), arg, false)
	}
}

func (v *validator) env(path []any, env map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !refName.MatchString(name) {
			v.say(at(path, name), "", "%q is no name of an environment variable", name)
		}
		v.refs(at(path, name), env[name], true)
	}
}

func (v *validator) http(path []any, h *HTTP) {
	u, err := url.Parse(reference.ReplaceAllString(h.URL, "1"))
	if err != nil || u.Host == "" && !strings.HasPrefix(h.URL, "${") || u.Host != "" && u.Scheme != "http" && u.Scheme != "https" {
		v.say(at(path, "url"), "", "%q is no http or https URL", h.URL)
	}
	if h.Method != "" && !slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}, h.Method) {
		v.say(at(path, "method"), "", "%q: use GET, HEAD, POST, PUT, PATCH or DELETE", h.Method)
	}
	v.refs(at(path, "url"), h.URL, true)
	v.refs(at(path, "body"), h.Body, true)
	for _, name := range slices.Sorted(maps.Keys(h.Headers)) {
		v.refs(at(path, "headers", name), h.Headers[name], true)
	}
	for i, code := range h.Expect {
		if code < 100 || code > 599 {
			v.say(at(path, "expect", i), "", "%d is no HTTP status", code)
		}
	}
}

func (v *validator) probe(path []any, p *Probe, started int) {
	v.machine(at(path, "machine"), p.Machine, started)
	switch p.Kind {
	case dr.ProbeTCP, dr.ProbeHTTP:
		if p.Port < 1 || p.Port > 65535 {
			v.say(at(path, "port"), "", "%d is no TCP port of the guest", p.Port)
		}
	case dr.ProbeSerial:
		if p.Text == "" {
			v.say(at(path, "text"), "", "missing: the text to wait for on the console")
		}
	case dr.ProbeAgent:
	default:
		v.say(at(path, "kind"), "", "%q: use tcp, http, serial or agent", p.Kind)
	}
}

// machine checks the machine of an action that needs it to be up when started stages are.
func (v *validator) machine(path []any, name string, started int) {
	for i, s := range v.p.Stages {
		if !slices.Contains(s.Machines, name) {
			continue
		}
		if i >= started {
			v.say(path, "move the action to a stage that follows, or to the plan's after", "machine %s does not run yet: it starts in stage %q", name, s.Name)
		}
		return
	}
	v.say(path, "", "no stage has a machine %q, so it never runs", name)
}

// refs checks the references of a text.
func (v *validator) refs(path []any, text string, secrets bool) {
	if text == "" {
		return
	}
	_, _ = Expand(text, func(scope, name string) (string, error) {
		switch scope {
		case "var":
			if _, ok := v.p.Variables[name]; !ok {
				v.say(path, "add it under variables", "no variable %q", name)
			}
		case "secret":
			if _, ok := v.p.Secrets[name]; !ok {
				v.say(path, "add it under secrets", "no secret %q", name)
			} else if !secrets {
				v.say(path, "give it to the program in env, and read it there", "a secret in a command or a message can be seen by others: ${secret.%s}", name)
			}
		case "machine":
			v.machineRef(path, name)
		case "run":
			v.oneOf(path, "run", name, runNames)
		case "plan":
			v.oneOf(path, "plan", name, planNames)
		}
		return "", nil
	})
}

func (v *validator) oneOf(path []any, scope, name string, names []string) {
	if !slices.Contains(names, name) {
		v.say(path, "", "${%s.%s}: use one of %s", scope, name, strings.Join(names, ", "))
	}
}

func (v *validator) machineRef(path []any, name string) {
	machine, what, port, ok := MachineRef(name)
	if !ok {
		v.say(path, "", "${machine.%s}: use ${machine.NAME.name} or ${machine.NAME.address.PORT}", name)
		return
	}
	if what == "address" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			v.say(path, "", "${machine.%s}: %q is no TCP port of the guest", name, port)
		}
	}
	if !slices.ContainsFunc(v.p.Stages, func(s Stage) bool { return slices.Contains(s.Machines, machine) }) {
		v.say(path, "", "${machine.%s}: no stage has a machine %q", name, machine)
	}
}
