package sim

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// doc is a resource as JSON.
type doc map[string]any

// at follows names through objects; nil when one is missing.
func (d doc) at(path string) any {
	var v any = map[string]any(d)
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

func (d doc) text(path string) string { s, _ := d.at(path).(string); return s }

func (d doc) number(path string) float64 {
	switch n := d.at(path).(type) {
	case float64:
		return n
	case int:
		return float64(n)
	case int64:
		return float64(n)
	}
	return 0
}

func (d doc) flag(path string) bool { b, _ := d.at(path).(bool); return b }

// object returns an object, which is nil when there is none.
func (d doc) object(path string) doc { m, _ := d.at(path).(map[string]any); return m }

// list returns the objects of an array.
func (d doc) list(path string) []doc {
	var out []doc
	items, _ := d.at(path).([]any)
	for _, v := range items {
		if m, ok := v.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// set changes what is at a path, making objects as needed.
func (d doc) set(path string, v any) {
	names := strings.Split(path, ".")
	m := map[string]any(d)
	for _, name := range names[:len(names)-1] {
		next, ok := m[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			m[name] = next
		}
		m = next
	}
	m[names[len(names)-1]] = v
}

// drop removes what is at a path.
func (d doc) drop(path string) {
	i := strings.LastIndex(path, ".")
	m, ok := map[string]any(d), true
	name := path
	if i >= 0 {
		name = path[i+1:]
		m, ok = d.at(path[:i]).(map[string]any)
	}
	if ok {
		delete(m, name)
	}
}

// clone copies deeply.
func (d doc) clone() doc {
	if d == nil {
		return doc{}
	}
	data, _ := json.Marshal(d) // it came from JSON
	out := doc{}
	_ = json.Unmarshal(data, &out)
	return out
}

// merge lays a patch over a document: objects are merged, everything else is replaced, null removes.
func merge(into, patch map[string]any) {
	for k, v := range patch {
		p, isObject := v.(map[string]any)
		have, haveObject := into[k].(map[string]any)
		switch {
		case v == nil:
			delete(into, k)
		case isObject && haveObject:
			merge(have, p)
		default:
			into[k] = v
		}
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
