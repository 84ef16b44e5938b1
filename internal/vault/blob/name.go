package blob

import (
	"fmt"
	"strings"

	"understudy/internal/dr"
)

// MaxTagged is the largest tagged object, in bytes.
const MaxTagged = 64 << 10

// Limits of names, in bytes. They fit every file system and object store in use.
const (
	maxName    = 700
	maxElement = 200
)

// CheckName reports whether name can name an object in every kind of store: slash-separated elements of lower-case
// letters, digits, '.', '_' and '-', none of which is empty or begins or ends with a dot. So no name leaves a folder,
// and names that begin with a dot are free for a store's own use. A store of files cannot hold both "a" and "a/b";
// callers must not need it.
func CheckName(name string) error {
	return check("object name", name, name)
}

// CheckPrefix is CheckName for the prefix of a listing, which may be empty or end inside an element.
func CheckPrefix(prefix string) error {
	whole := prefix
	switch {
	case prefix == "":
		return nil
	case strings.HasSuffix(prefix, "/"):
		whole = prefix[:len(prefix)-1]
	case strings.HasSuffix(prefix, "."):
		whole = prefix + "x"
	}
	return check("prefix", prefix, whole)
}

func check(what, given, name string) error {
	bad := func(why string) error {
		return dr.WithHint(fmt.Errorf("%s %q %s", what, given, why), dr.KindInvalid,
			"use elements of a-z, 0-9, '.', '_' and '-', separated by '/', that do not begin or end with a dot")
	}
	if name == "" {
		return bad("is empty")
	}
	if len(name) > maxName {
		return bad(fmt.Sprintf("is longer than %d bytes", maxName))
	}
	for element := range strings.SplitSeq(name, "/") {
		switch {
		case element == "":
			return bad("has an empty element")
		case len(element) > maxElement:
			return bad(fmt.Sprintf("has an element longer than %d bytes", maxElement))
		case element[0] == '.' || element[len(element)-1] == '.':
			return bad("has an element that begins or ends with a dot")
		}
		for _, c := range []byte(element) {
			if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-' {
				continue
			}
			return bad(fmt.Sprintf("has the byte %q", c))
		}
	}
	return nil
}
