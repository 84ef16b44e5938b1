package qmp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"testing"
)

// The fake answers nothing before it has all commands: they are sent without waiting.
func TestRunAll(t *testing.T) {
	var held []request
	c := dial(t, fake(t, func(conn net.Conn, r request) {
		if held = append(held, r); len(held) < 4 {
			return
		}
		for _, r := range held {
			reply := fmt.Sprintf(`{"return": %s, "id": %d}`, r.Arguments, r.ID)
			if r.Execute == "refused" {
				reply = fmt.Sprintf(`{"error": {"class": "GenericError", "desc": %s}, "id": %d}`, r.Arguments, r.ID)
			}
			fmt.Fprintln(conn, reply)
		}
		held = nil
	}))
	var first, last int
	commands := []Command{
		{Name: "echo", Args: 1, Out: &first},
		{Name: "refused", Args: "as expected", MayFail: true},
		{Name: "echo", Args: json.RawMessage("{}")},
		{Name: "echo", Args: 4, Out: &last},
	}
	if err := c.RunAll(t.Context(), commands...); err != nil || first != 1 || last != 4 {
		t.Errorf("got %d and %d, %v", first, last, err)
	}
	commands[1].MayFail = false
	commands[2] = Command{Name: "refused", Args: "after another"}
	first, last = 0, 0
	err := c.RunAll(t.Context(), commands...)
	var refused *Error
	if !errors.As(err, &refused) || err.Error() != "refused: as expected" || first != 1 || last != 4 {
		t.Errorf("got %d and %d, %v", first, last, err)
	}
	if err := c.RunAll(t.Context()); err != nil {
		t.Errorf("no commands: %v", err)
	}
	_ = c.Close()
	if err := c.RunAll(t.Context(), commands...); !errors.Is(err, ErrLost) {
		t.Errorf("after the end: %v", err)
	}
}
