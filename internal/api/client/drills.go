package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"understudy/internal/api/wire"
)

// Drills tells how every group stands with its rehearsals.
func (c *Client) Drills(ctx context.Context) ([]wire.Drill, error) {
	return all[wire.Drill](ctx, c, "/v1/drills", nil)
}

// Drill tells how a group stands with its rehearsals.
func (c *Client) Drill(ctx context.Context, group string) (v wire.Drill, err error) {
	return v, c.do(ctx, http.MethodGet, path("groups", group, "drill"), nil, &v)
}

// RunDrill begins a drill.
func (c *Client) RunDrill(ctx context.Context, group string, in wire.DrillRequest) (v wire.Run, err error) {
	return v, c.do(ctx, http.MethodPost, path("groups", group, "drill"), in, &v)
}

// ScheduleDrill sets when a group is rehearsed.
func (c *Client) ScheduleDrill(ctx context.Context, group string, in wire.DrillSchedule) (v wire.Drill, err error) {
	return v, c.do(ctx, http.MethodPut, path("groups", group, "drill", "schedule"), in, &v)
}

// UnscheduleDrill ends the schedule of a group's drills.
func (c *Client) UnscheduleDrill(ctx context.Context, group string) error {
	return c.do(ctx, http.MethodDelete, path("groups", group, "drill", "schedule"), nil, nil)
}

// maxFile bounds a report or a piece of evidence, in bytes.
const maxFile = 1 << 30

// Report returns the report on a run: html or json.
func (c *Client) Report(ctx context.Context, run, format string) ([]byte, error) {
	return c.file(ctx, path("runs", run, "report")+"?format="+url.QueryEscape(format))
}

// Evidence returns a file that a drill kept.
func (c *Client) Evidence(ctx context.Context, run, name string) ([]byte, error) {
	return c.file(ctx, path("runs", run, "evidence", name))
}

func (c *Client) file(ctx context.Context, path string) ([]byte, error) {
	resp, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxFile))
	if err != nil {
		return nil, fmt.Errorf("read the controller's answer: %w", err)
	}
	return data, nil
}
