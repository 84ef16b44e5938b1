package plan

import (
	"regexp"
	"strings"
)

// reference finds ${var.NAME} and its like. What is not of this form, such as a shell's ${HOME}, is left alone.
var reference = regexp.MustCompile(`\$\{(var|secret|machine|run|plan)\.([^}]*)\}`)

// Expand replaces every reference in text by what lookup says of it; scope and name are those of ${scope.name}.
func Expand(text string, lookup func(scope, name string) (string, error)) (string, error) {
	var failed error
	out := reference.ReplaceAllStringFunc(text, func(ref string) string {
		m := reference.FindStringSubmatch(ref)
		value, err := lookup(m[1], m[2])
		if err != nil && failed == nil {
			failed = err
		}
		return value
	})
	return out, failed
}

// runNames are what ${run.NAME} and ${plan.NAME} may name.
var (
	runNames  = []string{"id", "kind", "direction", "group", "source", "target", "point"}
	planNames = []string{"name", "version"}
)

// MachineRef takes the name of a ${machine.NAME.WHAT} apart: what is name, the machine's name at the target, or
// address.PORT, where the controller reaches the guest's TCP port. Names of machines may have dots.
func MachineRef(name string) (machine, what, port string, ok bool) {
	if m, rest, found := cutLast(name, ".address."); found {
		return m, "address", rest, m != "" && rest != ""
	}
	if m, found := strings.CutSuffix(name, ".name"); found {
		return m, "name", "", m != ""
	}
	return "", "", "", false
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
