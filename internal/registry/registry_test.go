package registry

import (
	"os"
	"path/filepath"
	"testing"

	"understudy/internal/dr"
)

func TestPresent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "east")
	s := dr.Site{Name: "east", Provider: "qemu", Config: map[string]string{"dir": dir}}
	if err := Present(s); dr.KindOf(err) != dr.KindUnavailable || dr.Hint(err) == "" {
		t.Errorf("a folder that is away: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "machines"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Present(s); err != nil {
		t.Errorf("a folder that is there: %v", err)
	}
}

func TestCheck(t *testing.T) {
	for name, s := range map[string]dr.Site{
		"unknown provider": {Name: "x", Provider: "vbox"},
		"no folder":        {Name: "x", Provider: "qemu"},
		"relative folder":  {Name: "x", Provider: "qemu", Config: map[string]string{"dir": "sites/../x"}},
		"unknown setting":  {Name: "x", Provider: "qemu", Config: map[string]string{"dir": "/d", "color": "red"}},
		"wrong accel":      {Name: "x", Provider: "qemu", Config: map[string]string{"dir": "/d", "accel": "hvf"}},
		"no machines":      {Name: "x", Provider: "image"},
	} {
		if err := Check(s); dr.KindOf(err) != dr.KindInvalid || dr.Hint(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Check(dr.Site{Name: "x", Provider: "image", Config: map[string]string{"machine.db": "/a.qcow2, /b.raw"}}); err != nil {
		t.Errorf("an image site: %v", err)
	}
}
