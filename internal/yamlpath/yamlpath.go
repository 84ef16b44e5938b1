// Package yamlpath finds places in YAML files, for errors that say where a fault is.
package yamlpath

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
)

// Position finds ":line:column" of a YAML path such as $.handlers.qemu, or of the nearest parent that the text has.
func Position(text []byte, at string) string {
	for at != "" && at != "$" {
		if path, err := yaml.PathString(at); err == nil {
			if node, err := path.ReadNode(bytes.NewReader(text)); err == nil && node.GetToken() != nil {
				pos := node.GetToken().Position
				return fmt.Sprintf(":%d:%d", pos.Line, pos.Column)
			}
		}
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	return ":1:1"
}
