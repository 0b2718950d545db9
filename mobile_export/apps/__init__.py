"""From exported files to an app: a sample app with them in it, and programs to begin with.

template.py   where the sample apps' sources are, and the programs that build one
copy.py       a copy of a sample app with models, name and identifier
android.py    of android_app/, and how an APK is built of it
ios.py        of ios_app/
snippets.py   the shortest complete program that loads a file, in several languages;
              programs/ has what differs between formats
"""
