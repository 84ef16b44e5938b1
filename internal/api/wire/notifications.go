package wire

import "time"

// Channel is whom notifications go to.
type Channel struct {
	Name   string   `json:"name"`
	Kind   string   `json:"kind" enum:"webhook,smtp,slack,teams"`
	URL    string   `json:"url,omitempty" doc:"https://HOST/PATH; of a mail server smtp://HOST:PORT or smtps://HOST:PORT"`
	Secret string   `json:"secret,omitempty" doc:"A reference at the controller, env:NAME or file:PATH: what signs webhooks, the mail server's password, or the URL that Slack or Teams gave"`
	User   string   `json:"user,omitempty" doc:"Of the mail server"`
	From   string   `json:"from,omitempty"`
	To     []string `json:"to,omitempty"`
}

// NotificationRule lets notifications through to channels. What is left out lets everything through. A channel that no
// rule names gets everything; one that rules name gets what any of them lets through.
type NotificationRule struct {
	Name     string   `json:"name"`
	Channels []string `json:"channels" minItems:"1"`
	Topics   []string `json:"topics,omitempty" enum:"failover,approval,lag,replication,drill,split-brain,vault,copy,test,monitor"`
	Kinds    []string `json:"kinds,omitempty" enum:"information,success,failure,problem,resolved"`
	Severity string   `json:"severity,omitempty" enum:"info,warning,critical" doc:"This and worse"`
	Groups   []string `json:"groups,omitempty" doc:"Names, or patterns such as shop-*"`
	Sites    []string `json:"sites,omitempty" doc:"Names, or patterns"`
}

// NotificationSettings are what all notifications share.
type NotificationSettings struct {
	Console  string   `json:"console,omitempty" example:"https://understudy.example.com" doc:"Where people reach the console, for links; none when left out"`
	Repeat   Duration `json:"repeat,omitempty" example:"4h" doc:"Time between two notifications of a problem that lasts; by default 4h"`
	NoRepeat bool     `json:"noRepeat,omitempty" doc:"Problems are told once"`
}

// NotificationEvent is what is told.
type NotificationEvent struct {
	ID       string     `json:"id" doc:"The same in every channel, and however often it is sent"`
	Time     time.Time  `json:"time"`
	Source   string     `json:"source" example:"group shop"`
	Kind     string     `json:"kind" enum:"information,success,failure,problem,resolved"`
	Topic    string     `json:"topic,omitempty" example:"lag"`
	Severity string     `json:"severity,omitempty" enum:"info,warning,critical"`
	Key      string     `json:"key,omitempty" doc:"The same for a problem, its repetitions and its end"`
	Ends     string     `json:"ends,omitempty" doc:"ID of what told of the problem first, in what repeats or ends it"`
	Since    *time.Time `json:"since,omitempty" doc:"When the problem began"`
	Repeat   int        `json:"repeat,omitempty" doc:"How often it was told before"`
	Group    string     `json:"group,omitempty"`
	Sites    []string   `json:"sites,omitempty"`
	Vault    string     `json:"vault,omitempty"`
	Run      string     `json:"run,omitempty"`
	Subject  string     `json:"subject"`
	Text     string     `json:"text,omitempty"`
	Loss     string     `json:"loss,omitempty" doc:"What would be lost, or was"`
	Next     []string   `json:"next,omitempty" doc:"What to do: commands"`
	Link     string     `json:"link,omitempty" doc:"Page of the console, as a path"`
}

// Notification is an event on its way to a channel, or there.
type Notification struct {
	Number int64 `json:"number" doc:"Rises"`
	NotificationEvent
	Channel  string     `json:"channel"`
	State    string     `json:"state" enum:"waiting,sent,dead"`
	Attempts int        `json:"attempts"`
	Sent     *time.Time `json:"sent,omitempty"`
	Problem  string     `json:"problem,omitempty" doc:"Why the last attempt failed"`
}

// OpenProblem is a problem that was told and is not over.
type OpenProblem struct {
	NotificationEvent
	Told  time.Time  `json:"told" doc:"When it was last told"`
	Times int        `json:"times" doc:"How often it was told"`
	Gone  *time.Time `json:"gone,omitempty" doc:"Since when it is not seen any more; its end is told when that has lasted"`
}
