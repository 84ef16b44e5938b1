package pepsim

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/google/uuid"
	"github.com/smnsjas/go-psrpcore/fragments"
	"github.com/smnsjas/go-psrpcore/messages"
	"github.com/smnsjas/go-psrpcore/serialization"
)

const (
	resource = "http://schemas.microsoft.com/powershell/PrivilegedEndpoint"
	shellNS  = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
)

// request is what an envelope asks.
type request struct {
	Action    string `xml:"http://schemas.xmlsoap.org/ws/2004/08/addressing Header>Action"`
	Resource  string `xml:"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd Header>ResourceURI"`
	MessageID string `xml:"Header>MessageID"`
	Selector  string `xml:"Header>SelectorSet>Selector"`
	Options   []struct {
		Name  string `xml:"Name,attr"`
		Value string `xml:",chardata"`
	} `xml:"Header>OptionSet>Option"`
	Shell struct {
		ID       string `xml:"ShellId,attr"`
		Creation string `xml:"creationXml"`
	} `xml:"Body>Shell"`
	Command struct {
		ID        string `xml:"CommandId,attr"`
		Arguments string `xml:"Arguments"`
	} `xml:"Body>CommandLine"`
	Desired struct {
		Command string `xml:"CommandId,attr"`
		Name    string `xml:",chardata"`
	} `xml:"Body>Receive>DesiredStream"`
	Signal struct {
		Command string `xml:"CommandId,attr"`
		Code    string `xml:"Code"`
	} `xml:"Body>Signal"`
}

// shell is one session.
type shell struct {
	id      uuid.UUID
	objects uint64 // messages so far
	queue   [][]byte
	command *command // that goes on: there is one runspace
}

type command struct {
	id    string
	queue [][]byte // what is to be said
	quiet int
	ends  bool
}

// answer returns the envelope that answers one, with its status; nil when the connection is to be cut.
func (h *Host) answer(envelope []byte, play Play) (int, []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var r request
	if err := xml.Unmarshal(envelope, &r); err != nil {
		return fault("", "s:Sender", "4", err.Error())
	}
	bad := func(code, format string, args ...any) (int, []byte) {
		return fault(r.MessageID, "wsman:InvalidParameter", code, fmt.Sprintf(format, args...))
	}
	if r.Resource != resource {
		return bad("2150858752", "The resource URI %s is not known.", r.Resource)
	}
	action := r.Action[strings.LastIndex(r.Action, "/")+1:]
	if action == "Create" {
		return h.create(r, play)
	}
	s := h.shells[strings.ToUpper(r.Selector)]
	if s == nil {
		return bad("2150858843", "The request for the Windows Remote Shell with ShellId %s failed because the shell was not found on the server.", r.Selector)
	}
	switch action {
	case "Command":
		if s.command != nil && !s.command.ends {
			return bad("5000", "the runspace is busy")
		}
		c, err := h.begin(s, r, play)
		if err != nil {
			return bad("87", "%v", err)
		}
		s.command = c
		return reply(r, "<rsp:CommandResponse><rsp:CommandId>"+c.id+"</rsp:CommandId></rsp:CommandResponse>")
	case "Receive":
		return h.receive(s, r, play)
	case "Signal":
		if s.command == nil || s.command.id != r.Signal.Command {
			return bad("2150858843", "no such command")
		}
		s.command = nil
		return reply(r, "<rsp:SignalResponse/>")
	case "Delete":
		delete(h.shells, strings.ToUpper(r.Selector))
		h.counts.Ended++
		return reply(r, "")
	}
	return bad("2150858817", "%s is not supported", action)
}

func (h *Host) create(r request, play Play) (int, []byte) {
	if play.Deny {
		return fault(r.MessageID, "wsman:AccessDenied", "5", "Access is denied.")
	}
	said, err := readMessages(r.Shell.Creation)
	id, wrong := uuid.Parse(r.Shell.ID)
	switch {
	case err != nil || wrong != nil || len(said) != 2:
		return fault(r.MessageID, "wsman:SchemaValidationError", "2150858782", fmt.Sprintf("creationXml: %d messages, %v", len(said), err))
	case len(r.Options) != 1 || r.Options[0].Name != "protocolversion" || r.Options[0].Value != "2.3":
		return fault(r.MessageID, "wsman:InvalidOptions", "2150858793", "no protocolversion")
	case said[0].Type != messages.MessageTypeSessionCapability || said[1].Type != messages.MessageTypeInitRunspacePool || said[0].RunspaceID != id:
		return fault(r.MessageID, "wsman:SchemaValidationError", "2150858782", "creationXml does not open a pool")
	}
	s := &shell{id: id}
	state := `<Obj RefId="0"><MS><I32 N="RunspaceState">2</I32></MS></Obj>`
	if play.Break != "" {
		state = `<Obj RefId="0"><MS><I32 N="RunspaceState">5</I32>` + record("ExceptionAsErrorRecord", play.Break) + `</MS></Obj>`
	}
	s.queue = h.cut(play, [][]byte{
		s.say(play, messages.MessageTypeSessionCapability, uuid.Nil, `<Obj RefId="0"><MS><Version N="protocolversion">2.3</Version><Version N="PSVersion">2.0</Version><Version N="SerializationVersion">1.1.0.1</Version></MS></Obj>`),
		s.say(play, messages.MessageTypeApplicationPrivate, uuid.Nil, `<Obj RefId="0"><MS><Nil N="ApplicationPrivateData"/></MS></Obj>`),
		s.say(play, messages.MessageTypeRunspacePoolState, uuid.Nil, state)})
	h.shells[strings.ToUpper(r.Shell.ID)] = s
	h.counts.Opened++
	return reply(r, "<rsp:Shell><rsp:ShellId>"+r.Shell.ID+"</rsp:ShellId><rsp:State>Connected</rsp:State></rsp:Shell>")
}

// begin reads what a command is, and makes what it has to say.
func (h *Host) begin(s *shell, r request, play Play) (*command, error) {
	said, err := readMessages(r.Command.Arguments)
	if err != nil || len(said) != 1 || said[0].Type != messages.MessageTypeCreatePipeline || said[0].RunspaceID != s.id {
		return nil, fmt.Errorf("the arguments begin no pipeline: %v", err)
	}
	pid := said[0].PipelineID
	d := serialization.NewDeserializer()
	defer d.Close()
	list, err := d.Deserialize(said[0].Data)
	if err != nil {
		return nil, err
	}
	get := func(o any, name string) any {
		p, _ := o.(*serialization.PSObject)
		if p == nil {
			return nil
		}
		return p.Properties[name]
	}
	cmds, _ := get(get(list[0], "PowerShell"), "Cmds").([]any)
	if len(cmds) != 1 {
		return nil, fmt.Errorf("%d commands", len(cmds))
	}
	text, _ := get(cmds[0], "Cmd").(string)
	name := text
	args, _ := get(cmds[0], "Args").([]any)
	for _, a := range args {
		n, _ := get(a, "N").(string)
		if on, _ := get(a, "V").(bool); on {
			text += " -" + n
		}
	}
	h.counts.Commands = append(h.counts.Commands, text)
	c := &command{id: strings.ToUpper(r.Command.ID), quiet: play.Quiet}
	state := func(n int, problem string) {
		text := fmt.Sprintf(`<Obj RefId="0"><MS><I32 N="PipelineState">%d</I32>`, n)
		if problem != "" {
			text += record("ExceptionAsErrorRecord", problem)
		}
		c.queue = append(c.queue, s.say(play, messages.MessageTypePipelineState, pid, text+"</MS></Obj>"))
		c.ends = true
	}
	output := func(text string) {
		c.queue = append(c.queue, s.say(play, messages.MessageTypePipelineOutput, pid, text))
	}
	script, _ := get(cmds[0], "IsScript").(bool)
	noInput, _ := get(list[0], "NoInput").(bool)
	switch {
	case script:
		state(5, "The syntax is not supported by this runspace. This can occur if the runspace is in no-language mode.")
	case name != "Get-AzureStackUpdateStatus":
		state(5, "The term '"+name+"' is not recognized as the name of a cmdlet, function, script file, or operable program.")
	case !noInput:
		c.quiet = 1 << 30 // it waits for input that nobody sends
	case play.Ask:
		c.queue = append(c.queue, s.say(play, messages.MessageTypePipelineHostCall, pid, `<Obj RefId="0"><MS><I64 N="ci">1</I64></MS></Obj>`))
	case play.Fail != "":
		state(5, play.Fail)
	case play.Complain != "":
		c.queue = append(c.queue, s.say(play, messages.MessageTypeErrorRecord, pid, record("", play.Complain)))
		state(4, "")
	case strings.HasSuffix(text, " -StatusOnly") && play.Plain:
		output(`<Obj RefId="0"><TN RefId="0"><T>System.Management.Automation.PSCustomObject</T><T>System.Object</T></TN><MS><S N="Value">` + play.Status + `</S></MS></Obj>`)
		state(4, "")
	case strings.HasSuffix(text, " -StatusOnly"):
		output(`<Obj RefId="0"><TN RefId="0"><T>Microsoft.AzureStack.Update.UpdateRunState</T><T>System.Enum</T><T>System.ValueType</T><T>System.Object</T></TN><ToString>` + play.Status + `</ToString><I32>1</I32></Obj>`)
		state(4, "")
	default:
		c.queue = append(c.queue, s.say(play, messages.MessageTypeVerboseRecord, pid, `<Obj RefId="0"><MS><S N="InformationalRecord_Message">asking</S></MS></Obj>`))
		if play.Document != "" {
			output("<S>" + escaped(play.Document) + "</S>")
		}
		state(4, "")
	}
	c.queue = h.cut(play, c.queue)
	return c, nil
}

func (h *Host) receive(s *shell, r request, play Play) (int, []byte) {
	if h.receives++; h.receives == play.DropAt {
		return 0, nil
	}
	queue, of, done := &s.queue, "", ""
	if r.Desired.Command != "" {
		c := s.command
		if c == nil || c.id != r.Desired.Command {
			return fault(r.MessageID, "wsman:InvalidParameter", "2150858843", "no such command")
		}
		queue, of = &c.queue, ` CommandId="`+c.id+`"`
		if c.quiet > 0 {
			c.quiet--
			return fault(r.MessageID, "wsman:TimedOut", "2150858793", "The WS-Management service cannot complete the operation within the time specified in OperationTimeout.")
		}
		if len(c.queue) == 1 && c.ends {
			done = `<rsp:CommandState CommandId="` + c.id + `" State="` + shellNS + `/CommandState/Done"><rsp:ExitCode>0</rsp:ExitCode></rsp:CommandState>`
		}
	}
	if len(*queue) == 0 {
		return fault(r.MessageID, "wsman:TimedOut", "2150858793", "The WS-Management service cannot complete the operation within the time specified in OperationTimeout.")
	}
	data := (*queue)[0]
	*queue = (*queue)[1:]
	return reply(r, fmt.Sprintf(`<rsp:ReceiveResponse><rsp:Stream Name="stdout"%s>%s</rsp:Stream>%s</rsp:ReceiveResponse>`, of, base64.StdEncoding.EncodeToString(data), done))
}

// say makes a message of PowerShell, in fragments as small as is played. Windows begins each with a byte order mark.
func (s *shell) say(play Play, kind messages.MessageType, pipeline uuid.UUID, text string) []byte {
	m := messages.Message{Destination: messages.DestinationClient, Type: kind, RunspaceID: s.id, PipelineID: pipeline, Data: []byte("\xef\xbb\xbf" + text)}
	whole, _ := m.Encode() // never fails
	s.objects++
	size := 1 << 20
	if play.Piece > 0 {
		size = fragments.HeaderSize + play.Piece
	}
	parts, _ := fragments.NewFragmenterWithID(size, s.objects).Fragment(whole) // never fails
	var out []byte
	for _, p := range parts {
		b, _ := p.Encode() // never fails
		out = append(out, b...)
	}
	return out
}

// cut cuts what is to be said into answers.
func (h *Host) cut(play Play, queue [][]byte) [][]byte {
	if play.Cut == 0 {
		return queue
	}
	all := bytes.Join(queue, nil)
	var out [][]byte
	for len(all) > 0 {
		n := min(play.Cut, len(all))
		out = append(out, all[:n])
		all = all[n:]
	}
	return out
}

func readMessages(text string) (said []*messages.Message, err error) {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	parts := fragments.NewAssembler()
	for len(data) >= fragments.HeaderSize {
		f, err := fragments.Decode(data)
		if err != nil {
			return nil, err
		}
		data = data[fragments.HeaderSize+int(binary.BigEndian.Uint32(data[17:])):]
		complete, whole, err := parts.Add(f)
		if err != nil {
			return nil, err
		}
		if complete {
			m, err := messages.Decode(whole)
			if err != nil {
				return nil, err
			}
			said = append(said, m)
		}
	}
	return said, nil
}

// record is an error record, with a name in what it is part of.
func record(name, text string) string {
	if name != "" {
		name = ` N="` + name + `"`
	}
	return `<Obj` + name + ` RefId="1"><TN RefId="1"><T>System.Management.Automation.ErrorRecord</T><T>System.Object</T></TN><ToString>` + escaped(text) + `</ToString><MS><B N="writeErrorStream">true</B></MS></Obj>`
}

var special = regexp.MustCompile("[\x00-\x08\x0a-\x1f]|_x")

// escaped writes a string as Windows does.
func escaped(text string) string {
	text = special.ReplaceAllStringFunc(text, func(c string) string {
		if c == "_x" {
			return "_x005F_x"
		}
		return fmt.Sprintf("_x%04X_", c[0])
	})
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text)) // a buffer takes all
	return b.String()
}

const envelope = `<s:Envelope xml:lang="en-US" xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" ` +
	`xmlns:wsman="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd" xmlns:rsp="` + shellNS + `"><s:Header><a:RelatesTo>%s</a:RelatesTo></s:Header><s:Body>%s</s:Body></s:Envelope>`

func reply(r request, body string) (int, []byte) {
	return http.StatusOK, fmt.Appendf(nil, envelope, r.MessageID, body)
}

func fault(to, subcode, code, text string) (int, []byte) {
	return http.StatusInternalServerError, fmt.Appendf(nil, envelope, to, fmt.Sprintf(`<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>%s</s:Value></s:Subcode></s:Code>`+
		`<s:Reason><s:Text xml:lang="">%s</s:Text></s:Reason><s:Detail><f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" Code="%s" Machine="ercs">`+
		`<f:Message>%s</f:Message></f:WSManFault></s:Detail></s:Fault>`, subcode, escaped(text), code, escaped(text)))
}
