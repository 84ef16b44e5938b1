package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"understudy/internal/api/wire"
)

// Channels lists whom notifications go to.
func (c *Client) Channels(ctx context.Context) (list []wire.Channel, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/channels", nil, &list)
}

// PutChannel adds a channel, or replaces it.
func (c *Client) PutChannel(ctx context.Context, in wire.Channel) (v wire.Channel, err error) {
	return v, c.do(ctx, http.MethodPut, path("channels", in.Name), in, &v)
}

// RemoveChannel removes a channel.
func (c *Client) RemoveChannel(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, path("channels", name), nil, nil)
}

// TestChannel sends a test.
func (c *Client) TestChannel(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodPost, path("channels", name, "test"), nil, nil)
}

// NotificationRules lists which notifications go to which channels.
func (c *Client) NotificationRules(ctx context.Context) (list []wire.NotificationRule, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/notification-rules", nil, &list)
}

// PutNotificationRule adds a rule, or replaces it.
func (c *Client) PutNotificationRule(ctx context.Context, in wire.NotificationRule) (v wire.NotificationRule, err error) {
	return v, c.do(ctx, http.MethodPut, path("notification-rules", in.Name), in, &v)
}

// RemoveNotificationRule removes a rule.
func (c *Client) RemoveNotificationRule(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, path("notification-rules", name), nil, nil)
}

// NotificationSettings tells what all notifications share.
func (c *Client) NotificationSettings(ctx context.Context) (v wire.NotificationSettings, err error) {
	return v, c.do(ctx, http.MethodGet, "/v1/notification-settings", nil, &v)
}

// PutNotificationSettings sets what all notifications share.
func (c *Client) PutNotificationSettings(ctx context.Context, in wire.NotificationSettings) (v wire.NotificationSettings, err error) {
	return v, c.do(ctx, http.MethodPut, "/v1/notification-settings", in, &v)
}

// Problems lists what is wrong now.
func (c *Client) Problems(ctx context.Context) (list []wire.OpenProblem, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/problems", nil, &list)
}

// A NotificationFilter selects notifications; its zero value selects the newest.
type NotificationFilter struct {
	State, Channel, Topic, Group string
	Limit                        int
}

// Notifications lists notifications, newest first.
func (c *Client) Notifications(ctx context.Context, f NotificationFilter) (list []wire.Notification, err error) {
	q := url.Values{}
	for name, v := range map[string]string{"state": f.State, "channel": f.Channel, "topic": f.Topic, "group": f.Group} {
		if v != "" {
			q.Set(name, v)
		}
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return list, c.do(ctx, http.MethodGet, "/v1/notifications?"+q.Encode(), nil, &list)
}

// RetryNotification has a notification sent again that was given up.
func (c *Client) RetryNotification(ctx context.Context, number int64) (v wire.Notification, err error) {
	return v, c.do(ctx, http.MethodPost, path("notifications", strconv.FormatInt(number, 10), "retry"), nil, &v)
}

// DropNotification forgets a notification that was given up.
func (c *Client) DropNotification(ctx context.Context, number int64) error {
	return c.do(ctx, http.MethodDelete, path("notifications", strconv.FormatInt(number, 10)), nil, nil)
}
