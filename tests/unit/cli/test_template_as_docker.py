"""Templates whose output was taken from `docker inspect` (client 28.2), for a container with these values."""

from __future__ import annotations

import pytest

from cli.format import template
from cli.format.values import NO_LIST, NO_MAP, OpenMap, Sparse, Struct, plain

SHOWN = {
    "Name": "/many",
    "State": {"Status": "running", "Running": True, "ExitCode": 0},
    "HostConfig": {
        "CapAdd": ["CAP_NET_ADMIN"],
        "CapDrop": NO_LIST,
        "Sysctls": NO_MAP,
        "Init": None,
        "RestartPolicy": Struct(Name="on-failure", MaximumRetryCount=3),
        "PortBindings": {
            "81/udp": [Struct(HostIp="", HostPort="18081")],
            "80/tcp": [Struct(HostIp="127.0.0.1", HostPort="18080")],
        },
    },
    "Config": {
        "Env": ["A=b", "C=d e"],
        "Labels": OpenMap(b="two", a="one"),
        "Volumes": {"/anon": Struct()},
    },
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        # What is not there.
        ("{{.HostConfig.CapDrop}} {{.HostConfig.Sysctls}} {{.HostConfig.Init}}", "[] map[] <nil>"),
        ("{{json .HostConfig.CapDrop}} {{json .HostConfig.Init}}", "null null"),
        ("{{len .HostConfig.CapDrop}} {{len .HostConfig.Sysctls}}", "0 0"),
        ("{{range .HostConfig.CapDrop}}{{.}};{{else}}none{{end}}", "none"),
        ("{{if .HostConfig.Sysctls}}yes{{else}}no{{end}}", "no"),
        ('{{join .HostConfig.CapDrop ","}}|', "|"),
        ("{{.Config.Labels.nope}}|{{index .Config.Labels `nope`}}|{{print nil}}", "<no value>||<nil>"),
        ("{{.HostConfig.Sysctls.x}}|{{index .HostConfig.Sysctls `x`}}|", "<no value>||"),
        # Structures and maps.
        ("{{.HostConfig.RestartPolicy}}", "{on-failure 3}"),
        ("{{json .HostConfig.RestartPolicy}}", '{"Name":"on-failure","MaximumRetryCount":3}'),
        ("{{.HostConfig.PortBindings}}", "map[80/tcp:[{127.0.0.1 18080}] 81/udp:[{ 18081}]]"),
        ("{{.Config.Volumes}} {{.Config.Labels}}", "map[/anon:{}] map[a:one b:two]"),
        (
            "{{range $p, $c := .HostConfig.PortBindings}}{{$p}}>{{range $c}}{{.HostPort}}{{end}};{{end}}",
            "80/tcp>18080;81/udp>18081;",
        ),
        # Blocks.
        ("{{range $i, $v := .Config.Env}}{{$i}}={{$v}};{{end}}", "0=A=b;1=C=d e;"),
        (
            "{{with .HostConfig.CapDrop}}a{{else with .HostConfig.CapAdd}}b{{.}}{{else}}c{{end}}",
            "b[CAP_NET_ADMIN]",
        ),
        ('{{if eq .Name "/x"}}x{{else if eq .Name "/many"}}m{{else}}o{{end}}', "m"),
        ("{{with $x := .Name}}{{$x}}-{{.}}{{end}}", "/many-/many"),
        ("a {{- .Name -}} b|a {{- /* c */ -}} b|{{/* comment */}}x", "a/manyb|ab|x"),
        ('{{- "a" }}  {{ "b" -}}  c', "a  bc"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ('{{define "t"}}<{{.}}>{{end}}{{template "t" .Name}}{{template "t" $.Name}}', "</many></many>"),
        ('{{define "t"}}x{{end}}{{template "t"}}', "x"),
        ('{{block "b" .Name}}[{{.}}]{{end}}{{template "b" 1}}', "[/many][1]"),
        # Variables.
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
        ("{{$n := 0}}{{range .Config.Env}}{{$n = len .}}{{end}}{{$n}}", "5"),
        # Functions.
        ('{{printf "%q %q" .Name .Config.Env}}', '"/many" ["A=b" "C=d e"]'),
        ('{{printf "%s|%10s|%-10s|" .Name "ab" "ab"}}', "/many|        ab|ab        |"),
        ('{{printf "%d|%5d|%05d|%x|%v|%c" 42 42 42 255 42 65}}', "42|   42|00042|ff|42|A"),
        ('{{printf "%t %T %.2f %5.1f%%" true "x" 3.14159 3.14159}}', "true string 3.14   3.1%"),
        ('{{printf "%d %s" "x" 5}}', "%!d(string=x) %!s(int=5)"),
        ('{{printf "a%sb"}} {{printf "a" 1}}', "a%!s(MISSING)b a%!(EXTRA int=1)"),
        ('{{.Name | printf "%s-%s" "x"}}', "x-/many"),
        ("{{slice .Name 1 3}} {{slice .Config.Env 0 1}} {{slice .Name 2}}", "ma [A=b] any"),
        ('{{split "a,b,c" ","}} {{index (split .Name "/") 1}}', "[a b c] many"),
        ('{{lower "ABC"}} {{upper "abc"}}', "abc ABC"),
        ('{{title "hello world-foo bar_baz it\'s"}}', "Hello World-Foo Bar_baz It'S"),
        ('{{pad "x" 2 3}}|{{pad "" 2 3}}|{{truncate "abcdef" 3}} {{truncate "ab" 3}}', "  x   ||abc ab"),
        ('{{println "a" 1 true}}|', "a 1 true\n|"),
        ('{{print "a" "b" 1 2 "c"}}|{{print 1 2}}', "ab1 2c|1 2"),
        ('{{eq 1 1}} {{eq "a" "b" "a"}} {{ne 1 2}} {{lt 1 2}} {{lt "a" "b"}}', "true true true true true"),
        ('{{and true false}} {{or false "x"}} {{not true}} {{and 1 2}} {{or 0 ""}}|', "false x false 2 |"),
        ("{{and false (index .Config.Env 99)}} {{or true (index .Config.Env 99)}}", "false true"),
        ("{{if and (eq 1 1) (or false true)}}ok{{end}}", "ok"),
        ('{{json "<a&b>"}} {{json .Config.Labels}}', '"<a&b>" {"b":"two","a":"one"}'),
        ("{{html `<a href='x'>&\"</a>`}}", "&lt;a href=&#39;x&#39;&gt;&amp;&#34;&lt;/a&gt;"),
        (r"""{{js `it's "x" <b>`}}""", r"it\'s \"x\" \u003Cb\u003E"),
        ('{{urlquery "a b&c/ä"}}', "a+b%26c%2F%C3%A4"),
        (
            "{{'a'}} {{1.5}} {{1e3}} {{0x10}} {{-3}} {{1_000}} {{`raw \"x\"`}}",
            '97 1.5 1000 16 -3 1000 raw "x"',
        ),
    ],
)
def test_prints_what_docker_prints(source: str, expected: str) -> None:
    assert template.parse(source).render(SHOWN) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{{index .Config.Env 99}}",
        "{{slice .Config.Env 5}}",
        "{{slice .HostConfig.CapDrop 0}}",
        '{{eq 1 "a"}}',
        '{{template "nope" .}}',
        '{{$x := .Name}}{{define "t"}}{{$x}}{{end}}{{template "t"}}',
        "{{$y = 1}}",
        "{{.Nope}}",
        "{{nil}}",
        '{{if true}}{{define "t"}}{{end}}{{end}}',
        '{{define "t"}}x',
        "{{define}}{{end}}",
        '{{block "b"}}{{end}}',
        '{{range .Config.Env}}{{define "t"}}{{break}}{{end}}{{end}}',
        '{{define "t"}}{{template "t"}}{{end}}{{template "t"}}',
    ],
)
def test_refuses_what_docker_refuses(source: str) -> None:
    with pytest.raises(template.TemplateError):
        template.parse(source).render(SHOWN)


def test_what_is_not_there_is_null_in_json_or_left_out() -> None:
    shown = {"a": NO_LIST, "b": [NO_MAP], "c": Sparse({"x": 0, "y": 0, "z": 1}, optional={"x", "z"})}
    assert plain(shown) == {"a": None, "b": [None], "c": {"y": 0, "z": 1}}
    assert template.parse("{{.c.x}} {{json .c}}").render(shown) == '0 {"y":0,"z":1}'
