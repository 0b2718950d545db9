"""From exported files to an app: the sample app with them in it, and programs to begin with.

template.py   where the sample app's sources are, and the programs that build it
android.py    a copy of android_app/ with models, name and identifier
snippets.py   the shortest complete program that loads a file, in several languages;
              programs/ has what differs between formats
"""
