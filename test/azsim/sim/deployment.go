package sim

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

const kindDeployment = "microsoft.resources/deployments"

// putDeployment makes what a template describes. Of the functions in templates there are parameters, resourceId and concat.
func (s *Sim) putDeployment(r *http.Request, res *resource, group string) *armError {
	bad := func(err error) *armError { return refusal(http.StatusBadRequest, "InvalidTemplate", "%v", err) }
	t := template{group: group, parameters: map[string]any{}}
	given := res.doc
	for name := range given.object("properties.template.parameters") {
		t.parameters[name] = given.at("properties.template.parameters." + name + ".defaultValue")
		if v := given.at("properties.parameters." + name + ".value"); v != nil {
			t.parameters[name] = v
		}
	}
	var waiting []doc
	for _, one := range given.list("properties.template.resources") {
		v, err := t.value(map[string]any(one))
		if err != nil {
			return bad(err)
		}
		waiting = append(waiting, v.(map[string]any))
	}
	made := map[string]bool{}
	for len(waiting) > 0 {
		next := slices.IndexFunc(waiting, func(one doc) bool {
			needs, _ := one["dependsOn"].([]any)
			return !slices.ContainsFunc(needs, func(id any) bool { return !made[strings.ToLower(fmt.Sprint(id))] })
		})
		if next < 0 {
			return bad(fmt.Errorf("the resources depend on one another"))
		}
		one := waiting[next]
		waiting = slices.Delete(waiting, next, next+1)
		id, err := t.id(one.text("type"), one.text("name"))
		if err != nil {
			return bad(err)
		}
		for _, name := range []string{"name", "type", "apiVersion", "dependsOn"} {
			delete(one, name)
		}
		to, _ := parse(id)
		if e := s.putNow(r, to, one); e != nil {
			return e
		}
		made[strings.ToLower(id)] = true
	}
	outputs, err := t.value(map[string]any(given.object("properties.template.outputs")))
	if err != nil {
		return bad(err)
	}
	res.doc["properties"] = map[string]any{"mode": given.at("properties.mode"), "outputs": outputs}
	return nil
}

// putNow creates or changes a resource, and ends the operation at once.
func (s *Sim) putNow(r *http.Request, t target, body map[string]any) *armError {
	a := s.put(r, t, body)
	if a.err != nil {
		return a.err
	}
	if op := a.op; op != nil {
		op.done = true
		if op.finish != nil {
			if _, e := op.finish(); e != nil {
				return e
			}
		}
	}
	s.resources[strings.ToLower(t.id)].doc.set("properties.provisioningState", "Succeeded")
	return nil
}

// A template is what the expressions of one are evaluated with.
type template struct {
	group      string
	parameters map[string]any
}

// value evaluates the expressions in a value.
func (t template) value(v any) (out any, err error) {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for name, one := range v {
			if m[name], err = t.value(one); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		return m, nil
	case []any:
		l := make([]any, len(v))
		for i, one := range v {
			if l[i], err = t.value(one); err != nil {
				return nil, err
			}
		}
		return l, nil
	case string:
		expression, ok := strings.CutPrefix(v, "[")
		if !ok || !strings.HasSuffix(v, "]") {
			return v, nil
		}
		out, rest, err := t.evaluate(strings.TrimSuffix(expression, "]"))
		if err == nil && rest != "" {
			err = fmt.Errorf("%q is left of %q", rest, v)
		}
		return out, err
	}
	return v, nil
}

// evaluate reads one expression and returns what follows it.
func (t template) evaluate(text string) (v any, rest string, err error) {
	text = strings.TrimSpace(text)
	if quoted, ok := strings.CutPrefix(text, "'"); ok {
		v, rest, ok := strings.Cut(quoted, "'")
		if !ok {
			return nil, "", fmt.Errorf("%q has no end", text)
		}
		return v, strings.TrimSpace(rest), nil
	}
	name, rest, ok := strings.Cut(text, "(")
	if !ok {
		return nil, "", fmt.Errorf("%q is no expression", text)
	}
	var args []string
	for rest = strings.TrimSpace(rest); !strings.HasPrefix(rest, ")"); {
		arg, after, err := t.evaluate(strings.TrimPrefix(rest, ","))
		if err != nil {
			return nil, "", err
		}
		if after == "" {
			return nil, "", fmt.Errorf("%q has no end", text)
		}
		args, rest = append(args, fmt.Sprint(arg)), after
	}
	rest = strings.TrimSpace(strings.TrimPrefix(rest, ")"))
	switch {
	case name == "concat":
		return strings.Join(args, ""), rest, nil
	case name == "parameters" && len(args) == 1:
		v, ok := t.parameters[args[0]]
		if !ok {
			return nil, "", fmt.Errorf("there is no parameter %q", args[0])
		}
		return v, rest, nil
	case name == "resourceId" && len(args) > 1:
		id, err := t.id(args[0], strings.Join(args[1:], "/"))
		return id, rest, err
	}
	return nil, "", fmt.Errorf("there is no function %s of %d arguments", name, len(args))
}

// id is the ID of a resource, from its type (NAMESPACE/KIND/KIND) and its name (NAME/NAME).
func (t template) id(kind, name string) (string, error) {
	kinds, names := strings.Split(kind, "/"), strings.Split(name, "/")
	if len(kinds) != len(names)+1 {
		return "", fmt.Errorf("%s is no name of a %s", name, kind)
	}
	id := t.group + "/providers/" + kinds[0]
	for i, one := range names {
		id += "/" + kinds[i+1] + "/" + one
	}
	return id, nil
}
