package house

import (
	"path"
	"regexp"
	"strings"
	"testing"
)

// TestNumbers: what is numbered has its number alone. A migration whose number another took is never carried out.
func TestNumbers(t *testing.T) {
	numbered := regexp.MustCompile(`^\d+`)
	taken := map[string]string{}
	walk(t, func(name string, _ []byte) {
		dir := path.Dir(name)
		if dir != "docs/decisions" && !strings.HasSuffix(dir, "/migrations") {
			return
		}
		number := numbered.FindString(path.Base(name))
		if number == "" {
			t.Errorf("%s has no number", name)
		}
		if other := taken[dir+"/"+number]; other != "" {
			t.Errorf("%s and %s have one number", other, name)
		}
		taken[dir+"/"+number] = name
	})
	if len(taken) < 10 {
		t.Errorf("only %d numbered files found", len(taken))
	}
}
