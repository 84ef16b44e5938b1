package extension

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
)

func TestInventoryFile(t *testing.T) {
	had := []dr.Extension{{Name: "monitor", Settings: map[string]string{"a": "b"}}}
	f := NewInventoryFile("rg-east", time.Unix(1700000000, 0).UTC(), []dr.Machine{{Name: "db"}, {Name: "Web"}}, map[string][]dr.Extension{"db": had, "Web": had})
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseInventory("i.json", data)
	if err != nil || len(back.Machines) != 2 || back.Machines[0].Extensions[0].Settings["a"] != "b" || !back.Taken.Equal(f.Taken) {
		t.Fatalf("%+v %v", back, err)
	}
	there := []dr.Machine{{Name: "db-test"}, {Name: "web"}}
	machines, as, missing := back.Match(there, map[string]string{"db": "DB-test"})
	if len(machines) != 2 || as["db"] != "db-test" || as["Web"] != "web" || len(missing) != 0 {
		t.Errorf("%+v %v %v", machines, as, missing)
	}
	machines, _, missing = back.Match(there, nil)
	if len(machines) != 1 || len(missing) != 1 || missing[0].Machine != "db" || !strings.Contains(missing[0].Reason, "--as db=NAME") {
		t.Errorf("%+v %v", machines, missing)
	}
}

func TestInventoryFileErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "i.json:1:1",
		"{\n  \"version\": x}":                 "i.json:2:14",
		"{\n  \"version\": 1,\n  \"what\": 3}": "unknown field",
		`{"version": "one"}`:                   "i.json:1:17",
		`{"version": 7, "machines": []}`:       "version 7",
		`{"version": 1, "machines": []}`:       "no machine",
		`{"version": 1, "machines": [{"name": "a", "disks": null}, {"name": "A", "disks": null}]}`: `machines[1].name: "A"`,
	} {
		_, err := ParseInventory("i.json", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || dr.KindOf(err) != dr.KindInvalid || dr.Hint(err) == "" {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
