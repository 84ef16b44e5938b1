package client

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"understudy/internal/api/wire"
	"understudy/internal/dr"
)

// Watch calls fn with the run at every change until it has ended, ctx ends or fn returns an error.
// A connection that breaks is dr.KindUnavailable; the run does not depend on it.
func (c *Client) Watch(ctx context.Context, id string, fn func(wire.Run) error) error {
	resp, err := c.send(ctx, http.MethodGet, path("runs", id, "watch"), nil)
	if err != nil {
		return fmt.Errorf("watch run %s: %w", id, err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 4<<20)
	event := ""
	over := false
	for lines.Scan() {
		line := lines.Text()
		if name, ok := strings.CutPrefix(line, "event: "); ok {
			event = name
			continue
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		if event == "problem" {
			return fmt.Errorf("watch run %s: %w", id, problem(http.StatusOK, []byte(data)))
		}
		var run wire.Run
		if err := json.Unmarshal([]byte(data), &run); err != nil {
			return fmt.Errorf("watch run %s: %w", id, err)
		}
		over = run.Over()
		if err := fn(run); err != nil {
			return err
		}
	}
	if over {
		return nil
	}
	err = lines.Err()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return dr.WithHint(fmt.Errorf("watch run %s: the controller went away: %w", id, err), dr.KindUnavailable,
		"the run goes on when the controller does: understudy run watch "+id)
}
