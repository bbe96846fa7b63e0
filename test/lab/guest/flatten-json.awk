# Prints a JSON text as lines PATH=VALUE, PATH joined by dots: {"a":[{"b":1}]} gives a.0.b=1.
# Good for what Nova writes (one object, \uXXXX only inside values that the guest does not use).
{ text = text $0 "\n" }
END { at = 1; value("") }
function blank() { while (index(" \t\r\n", substr(text, at, 1)) && at <= length(text)) at++ }
function join(path, key) { return path == "" ? key : path "." key }
function string(   out, c) {
  at++
  out = ""
  while ((c = substr(text, at, 1)) != "\"" && at <= length(text)) {
    if (c == "\\") {
      at++
      c = substr(text, at, 1)
      if (c == "n") c = " "
      else if (c == "t") c = " "
    }
    out = out c
    at++
  }
  at++
  return out
}
function value(path,   c, key, n, start) {
  blank()
  c = substr(text, at, 1)
  if (c == "{") {
    at++
    blank()
    while (substr(text, at, 1) != "}" && at <= length(text)) {
      blank()
      key = string()
      blank()
      at++
      value(join(path, key))
      blank()
      if (substr(text, at, 1) == ",") at++
      blank()
    }
    at++
  } else if (c == "[") {
    at++
    n = 0
    blank()
    while (substr(text, at, 1) != "]" && at <= length(text)) {
      value(join(path, n++))
      blank()
      if (substr(text, at, 1) == ",") at++
      blank()
    }
    at++
  } else if (c == "\"") {
    print path "=" string()
  } else {
    start = at
    while (!index(",]} \t\r\n", substr(text, at, 1)) && at <= length(text)) at++
    print path "=" substr(text, start, at - start)
  }
}
