package extension

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
)

// inventoryVersion is that of the files written here.
const inventoryVersion = 1

// An InventoryFile holds what machines had, to be restored where no controller and no vault knows them: after a failover by
// another product, for example. It holds no secrets.
type InventoryFile struct {
	Version  int          `json:"version"`
	Taken    time.Time    `json:"taken"`
	Source   string       `json:"source"` // where
	Machines []dr.Machine `json:"machines"`
}

// NewInventoryFile describes machines with what was found of each.
func NewInventoryFile(source string, taken time.Time, machines []dr.Machine, found map[string][]dr.Extension) InventoryFile {
	f := InventoryFile{Version: inventoryVersion, Taken: taken, Source: source, Machines: []dr.Machine{}}
	for _, m := range machines {
		m.Extensions = found[m.Name]
		f.Machines = append(f.Machines, m)
	}
	return f
}

// ParseInventory reads an inventory file. Errors say file, line and column.
func ParseInventory(name string, data []byte) (InventoryFile, error) {
	var f InventoryFile
	hint := "make one: understudy extension inventory --from RESOURCE-GROUP --out " + name
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		at := dec.InputOffset()
		var syntax *json.SyntaxError
		var kind *json.UnmarshalTypeError
		switch {
		case errors.As(err, &syntax):
			at = syntax.Offset - 1
		case errors.As(err, &kind):
			at = kind.Offset - 1
		}
		before := string(data[:max(0, min(int(at), len(data)))])
		line := strings.Count(before, "\n") + 1
		column := len(before) - strings.LastIndex(before, "\n")
		return f, dr.WithHint(fmt.Errorf("%s:%d:%d: %w", name, line, column, err), dr.KindInvalid, hint)
	}
	switch {
	case f.Version != inventoryVersion:
		return f, dr.WithHint(fmt.Errorf("%s: version %d of an inventory is not known here: it is %d", name, f.Version, inventoryVersion), dr.KindInvalid, hint)
	case len(f.Machines) == 0:
		return f, dr.WithHint(fmt.Errorf("%s: no machine is in it", name), dr.KindInvalid, hint)
	}
	for i, m := range f.Machines {
		twice := slices.ContainsFunc(f.Machines[:i], func(b dr.Machine) bool { return strings.EqualFold(b.Name, m.Name) })
		if m.Name == "" || twice {
			return f, dr.WithHint(fmt.Errorf("%s: machines[%d].name: %q is empty or there twice", name, i, m.Name), dr.KindInvalid, hint)
		}
	}
	return f, nil
}

// Match finds the machines of an inventory among those of a site. as says which machine stands for which, where names
// differ. It returns the names as the site writes them, and a result for each that is not there.
func (f InventoryFile) Match(there []dr.Machine, as map[string]string) (machines []dr.Machine, names map[string]string, missing []dr.ExtensionResult) {
	names = map[string]string{}
	for _, m := range f.Machines {
		want := m.Name
		if name, ok := as[m.Name]; ok {
			want = name
		}
		i := slices.IndexFunc(there, func(t dr.Machine) bool { return strings.EqualFold(t.Name, want) })
		if i >= 0 {
			names[m.Name] = there[i].Name
			machines = append(machines, m)
			continue
		}
		for _, e := range m.Extensions {
			missing = append(missing, dr.ExtensionResult{Machine: m.Name, Extension: e.Name, Outcome: dr.ExtensionNotRestored,
				Reason: fmt.Sprintf("there is no machine %s (say which one takes its place: --as %s=NAME)", want, m.Name)})
		}
	}
	return machines, names, missing
}
