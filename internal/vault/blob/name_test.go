package blob

import (
	"strings"
	"testing"

	"understudy/internal/dr"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "vault.json", "g/shop/p/00000001-000000000042", "a_b-c.d/0", strings.Repeat("a", 200)} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", ".a", "a/.b", "a.", "A", "a b", "a\\b", "a\x00",
		"ä", "c:", strings.Repeat("a", 201), strings.Repeat("a/", 350) + "aa"} {
		if err := CheckName(name); dr.KindOf(err) != dr.KindInvalid || dr.Hint(err) == "" {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestCheckPrefix(t *testing.T) {
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/b.", "g/shop/p/1-"} {
		if err := CheckPrefix(prefix); err != nil {
			t.Errorf("%q: %v", prefix, err)
		}
	}
	for _, prefix := range []string{"/", "../", "..", "a/..", "a//", ".", "a/.", "A"} {
		if err := CheckPrefix(prefix); err == nil {
			t.Errorf("%q: accepted", prefix)
		}
	}
}
