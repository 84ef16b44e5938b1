package notify

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"understudy/internal/dr"
)

// A Rule lets events through to channels. Empty fields let everything through.
type Rule struct {
	Name     string   `json:"name"`
	Channels []string `json:"channels"`
	Topics   []Topic  `json:"topics,omitempty"`
	Kinds    []Kind   `json:"kinds,omitempty"`
	Severity Severity `json:"severity,omitempty"` // and worse
	Groups   []string `json:"groups,omitempty"`   // names, or patterns such as shop-*
	Sites    []string `json:"sites,omitempty"`
}

// Check says what is wrong with a rule.
func (r Rule) Check() error {
	bad := func(hint, format string, args ...any) error {
		return dr.WithHint(fmt.Errorf("rule %s: %w", r.Name, fmt.Errorf(format, args...)), dr.KindInvalid, hint)
	}
	if !goodName(r.Name) {
		return bad("use letters, digits and '-'", "%q is no name", r.Name)
	}
	if len(r.Channels) == 0 {
		return bad("--channel NAME: understudy notify list", "it names no channel")
	}
	for _, t := range r.Topics {
		if !slices.Contains(Topics(), t) {
			return bad("one of "+joined(Topics()), "topic %q is not known", t)
		}
	}
	for _, k := range r.Kinds {
		if !slices.Contains(Kinds(), k) {
			return bad("one of "+joined(Kinds()), "kind %q is not known", k)
		}
	}
	if r.Severity != "" && !slices.Contains(Severities(), r.Severity) {
		return bad("one of "+joined(Severities()), "severity %q is not known", r.Severity)
	}
	for _, p := range slices.Concat(r.Groups, r.Sites) {
		if _, err := path.Match(p, ""); p == "" || err != nil {
			return bad("a name, or a pattern such as shop-*", "%q is no pattern", p)
		}
	}
	return nil
}

// Kinds are all kinds of event.
func Kinds() []Kind { return []Kind{Information, Success, Failure, Problem, Resolved} }

func joined[T ~string](list []T) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = string(v)
	}
	return strings.Join(words, ", ")
}

func goodName(s string) bool { return s != "" && !strings.ContainsAny(s, "/ \t\r\n") }

// Lets reports whether the rule lets an event through. The end of a problem passes where the problem passed: what it
// would be refused for as an end is not looked at.
func (r Rule) Lets(e Event) bool {
	if len(r.Topics) > 0 && !slices.Contains(r.Topics, e.Topic) || e.Severity.Compare(r.Severity) < 0 {
		return false
	}
	if len(r.Kinds) > 0 && !slices.Contains(r.Kinds, e.Kind) &&
		!(e.Ends != "" && (slices.Contains(r.Kinds, Problem) || slices.Contains(r.Kinds, Failure))) {
		return false
	}
	if len(r.Groups) > 0 && !matches(r.Groups, e.Group) {
		return false
	}
	return len(r.Sites) == 0 || slices.ContainsFunc(e.Sites, func(s string) bool { return matches(r.Sites, s) })
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return ok && err == nil
	})
}

// Route says which of the channels get an event. A channel that no rule names gets everything, so that a rule for one
// silences no other; one that rules name gets what any of them lets through.
func Route(channels []string, rules []Rule, e Event) []string {
	var to []string
	for _, c := range channels {
		named, let := false, false
		for _, r := range rules {
			if slices.Contains(r.Channels, c) {
				named, let = true, let || r.Lets(e)
			}
		}
		if !named || let {
			to = append(to, c)
		}
	}
	return to
}
